"""Booking receipts: the one place where an answer's fee leaves its payer.  Runs inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from openledger import names
from openledger.split import payee
from services.ledger import journal
from services.ledger import lease as leases
from services.ledger.admit import Admitted, Rejected
from services.ledger.store import receipts_read
from services.ledger.store.batch import Batch
from services.ledger.store.books import Payout, Refused

BOOKED, OWED, REPEATED, CONFLICT = "BOOKED", "OWED", "REPEATED", "CONFLICT"


def book(connection: Connection, entry: Admitted | Rejected, now: float, room: float = 0) -> str:
    """`book_all` for one."""
    return book_all(connection, [entry], now, room)[0]


def book_all(connection: Connection, entries: Sequence[Admitted | Rejected], now: float, room: float = 0) -> list[str]:
    """Journal receipts in their order, or keep why not; returns what became of each: BOOKED, REPEATED, or a reason.

    OWED is booked as well, and leaves its payer with less than nothing.
    `room`: seconds that an authorisation must still hold, to be redeemed.  The same comes out however the receipts are
    parted into calls.  Call `books.lock` first, in the same transaction.
    """
    found = [entry.receipt for entry in entries if isinstance(entry, Admitted)]
    read = receipts_read.until(connection, now)
    batch = Batch(
        connection,
        keys={journal.inference_key(receipt.response) for receipt in found},
        addresses={names.account_address(receipt.payer) for receipt in found},
        leases={receipt.lease for receipt in found},
        digests={entry.sha256 for entry in entries},
        read=read,
    )
    with batch.deciding():
        return [_decide(batch, entry, now, room) for entry in entries]


def _decide(batch: Batch, entry: Admitted | Rejected, now: float, room: float) -> str:
    if isinstance(entry, Rejected):
        return _reject(batch, entry)
    known = batch.payload_of(journal.inference_key(entry.receipt.response))
    if known == entry.sha256:
        return REPEATED
    if known is not None:
        return _refuse(batch, entry, CONFLICT, f"{entry.receipt.response} was booked by receipt {known} already")
    try:
        return _book(batch, entry, now, room)
    except leases.Refusal as refusal:
        return _refuse(batch, entry, refusal.reason, str(refusal))


def _book(batch: Batch, entry: Admitted, now: float, room: float) -> str:
    found = entry.receipt
    payer = batch.payer(names.account_address(found.payer))
    lease = batch.lease(found.lease)
    if lease is None:
        raise leases.Refusal("UNKNOWN_LEASE", f"there is no {found.lease}")
    charged = leases.charge(payer, lease, batch.other_leases(lease, payer.address), found.fee, now, batch.read, room)
    contributors = map(payee, found.shares)
    payees = {names.address(who) for who in (found.platform, found.developer, *contributors) if who}
    batch.charge(
        charged,
        journal.inference(found, entry.sha256),
        Payout(found.response, entry.sha256, payer.address, found.fee, found.shares, frozenset(payees), None),
        entry.document,
    )
    return OWED if found.fee and batch.payer(payer.address).balance < 0 else BOOKED


def _refuse(batch: Batch, entry: Admitted, reason: str, message: str) -> str:
    found = entry.receipt
    return _reject(batch, Rejected(entry.sha256, found.response, found.payer, reason, message, entry.document))


def _reject(batch: Batch, entry: Rejected) -> str:
    payer = entry.payer.removeprefix("accounts/")
    new = batch.reject(Refused(entry.sha256, entry.response, payer, entry.reason, entry.message, entry.document))
    return entry.reason if new else REPEATED
