"""Booking a receipt: the one place where an answer's fee leaves its payer.  Runs inside the caller's transaction."""

from __future__ import annotations

from sqlalchemy import Connection

from openledger import names
from openledger.split import NAMED
from services.ledger import journal
from services.ledger import lease as leases
from services.ledger.admit import Admitted, Rejected
from services.ledger.store import books, payers, settlements
from services.ledger.store.books import Payout

BOOKED, REPEATED, CONFLICT = "BOOKED", "REPEATED", "CONFLICT"


def book(connection: Connection, entry: Admitted | Rejected, now: float) -> str:
    """Journal a receipt, or keep why not; returns what became of it: BOOKED, REPEATED, or a reason of rejection.

    Call `books.lock` first, in the same transaction.
    """
    if isinstance(entry, Rejected):
        return _reject(connection, entry)
    known = books.payload_of(connection, journal.inference_key(entry.receipt.response))
    if known == entry.sha256:
        return REPEATED
    if known is not None:
        return _refuse(connection, entry, CONFLICT, f"{entry.receipt.response} was booked by receipt {known} already")
    try:
        _book(connection, entry, now)
    except leases.Refusal as refusal:
        return _refuse(connection, entry, refusal.reason, str(refusal))
    return BOOKED


def _book(connection: Connection, entry: Admitted, now: float) -> None:
    found = entry.receipt
    address = names.account_address(found.payer)
    payer = payers.lock(connection, address)
    lease = payers.lease(connection, found.lease)
    if lease is None:
        raise leases.Refusal("UNKNOWN_LEASE", f"there is no {found.lease}")
    others = [other for other in payers.open_leases(connection, address, now) if other.name != lease.name]
    charged = leases.charge(payer, lease, others, found.fee, now)
    payers.save_lease(connection, charged)
    payers.set_spent(connection, address, payer.spent + found.fee)
    entered = journal.inference(found)
    number = books.post(connection, entered)
    payees = {names.address(who) for who in (found.platform, found.developer, *found.shares.keys() - NAMED) if who}
    books.keep_receipt(
        connection,
        number,
        Payout(found.response, entry.sha256, address, found.fee, found.shares, frozenset(payees), None),
    )
    settlements.keep(connection, [(number, found, entry.document)])


def _refuse(connection: Connection, entry: Admitted, reason: str, message: str) -> str:
    found = entry.receipt
    return _reject(connection, Rejected(entry.sha256, found.response, found.payer, reason, message, entry.document))


def _reject(connection: Connection, entry: Rejected) -> str:
    payer = entry.payer.removeprefix("accounts/")
    new = books.reject(connection, entry.sha256, entry.response, payer, entry.reason, entry.message, entry.document)
    return entry.reason if new else REPEATED
