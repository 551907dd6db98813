"""What payers allow and what is set aside of it: authorisations and leases.  Runs inside the caller's transaction."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection

from openledger.money import format_open
from services.kit.errors import Fault, invalid, not_found, precondition
from services.ledger import lease as leases
from services.ledger.lease import Lease, Payer, Refusal, Times
from services.ledger.store import payers, receipts_read

MAX_DEADLINE = 2**53


def check_deadline(deadline: int, times: Times, now: float) -> None:
    """Raises `Fault` unless what is spent under an authorisation until `deadline` can be redeemed before it."""
    if not int(now) + times.outlive <= deadline <= MAX_DEADLINE:
        raise invalid(
            "BAD_DEADLINE",
            f"deadline: {deadline} is not a time in Unix seconds at least {times.outlive} s from now; what is spent "
            "under the authorisation has to be redeemed before it ends",
            "deadline",
            earliest=str(int(now) + times.outlive),
        )


def authorise(connection: Connection, address: str, cap: int, deadline: int, signature: bytes, now: float) -> None:
    """Keep a checked authorisation.  Raises `Fault` when it takes back what was spent or leased under another."""
    payer, read = payers.lock(connection, address), receipts_read.until(connection, now)
    bound = payer.spent + leases.leased(payers.open_leases(connection, address, read), read)
    if cap < bound:
        raise precondition(
            "CAP_TOO_LOW",
            f"the cap is over the account's whole life, and {bound} is spent or set aside already: sign that or more",
            at_least=str(bound),
        )
    payers.end_leases(connection, [address], read)
    payers.authorise(connection, address, cap, deadline, signature)


def acquire(connection: Connection, address: str, amount: int, times: Times, now: float) -> Lease:
    """Set `amount` aside.  Raises `Fault` INSUFFICIENT_BALANCE that says what the payer can do."""
    payer, read = payers.lock(connection, address), receipts_read.until(connection, now)
    others = payers.open_leases(connection, address, read)
    free = leases.spendable(payer, others, now, read, times.outlive)
    if amount > free:
        raise _insufficient(payer, leases.leased(others, read), amount, free, now + times.outlive)
    payers.end_leases(connection, [address], read)
    end = int(now) + times.lease
    name = f"leases/{uuid.uuid4().hex}"
    lease = Lease(name, address, amount, amount, 0, end, end + times.grace)
    payers.new_lease(connection, lease)
    return lease


def release(connection: Connection, name: str, used: int) -> Lease:
    """Give back what a lease will not use.  Raises `Fault`."""
    found = payers.lease(connection, name)
    if found is None:
        raise not_found("LEASE_NOT_FOUND", f"there is no {name}")
    payers.lock(connection, found.payer)
    found = payers.lease(connection, name)
    assert found is not None
    try:
        released = leases.release(found, used)
    except Refusal as refusal:
        raise invalid(refusal.reason, str(refusal), "used") from None
    payers.save_lease(connection, released)
    return released


def _insufficient(payer: Payer, leased: int, amount: int, free: int, until: float) -> Fault:
    if payer.balance - payer.withdrawing - leased < amount:
        missing = amount - (payer.balance - payer.withdrawing - leased)
        do, what = "deposit", f"deposit {format_open(missing + 10**12 - 1)} OPEN more"
    elif payer.deadline < until:
        do, what = "authorise", f"sign a spending authorisation that holds until {int(until)} (Unix seconds) or longer"
    else:
        do, what = "authorise", f"sign a spending authorisation with a cap of {payer.spent + leased + amount} or more"
    if leased:
        what += f". {format_open(leased)} OPEN is set aside for answers; what they do not use comes back by itself"
    return precondition(
        "INSUFFICIENT_BALANCE",
        f"accounts/{payer.address} can spend {format_open(free)} OPEN now and this needs {format_open(amount)}: {what}",
        account=f"accounts/{payer.address}",
        spendable=str(free),
        set_aside=str(leased),
        needed=str(amount),
        do=do,
    )
