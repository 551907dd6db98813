"""What events say of sums, beside the books: an event that was never told is found by the next one of its account.

A deposit says what its payer has deposited in all, a claim what its account was ever paid.  What this does not know:
which event is missing, and where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from services.ledger import journal
from services.ledger.chain import Claimed, Deposit, Redeemed, SplitHolds, Withdrawal
from services.ledger.store import books, payers

Sum = tuple[str, str]
"""What is summed, and of which account."""

DEPOSITED, CLAIMED = "deposited", "claimed"


def newest(events: Iterable[Deposit | Withdrawal | Redeemed | Claimed | SplitHolds]) -> dict[Sum, int | None]:
    """What the newest of events, in their order, says of each sum; None where it changes one and does not say it."""
    found: dict[Sum, int | None] = {}
    for event in events:
        match event:
            case Deposit():
                found[DEPOSITED, event.payer] = event.total
            case Withdrawal(paid=True):
                found[DEPOSITED, event.payer] = None
            case Claimed():
                found[CLAIMED, event.account] = event.cumulative
    return found


def misfits(connection: Connection, said: Mapping[Sum, int | None]) -> dict[Sum, int]:
    """Those sums that the books, which hold all that was told, contradict."""
    names = [journal.payer(who) if what == DEPOSITED else journal.payable(who) for what, who in said]
    sums = books.sums(connection, [*names, journal.SHORTFALL])
    lost = -sums.get(journal.SHORTFALL, books.Sums()).balance
    found = {}
    for (what, who), name in zip(said, names, strict=True):
        total, here = said[what, who], sums.get(name, books.Sums())
        if total is None:
            continue
        if what == CLAIMED:
            fits = here.debits == total
        else:
            # What left the book and was not spent was paid out; of a loss it is not kept whose withdrawal it was.
            deposited = here.balance + payers.get(connection, who).spent
            fits = 0 <= deposited - total <= lost
        if not fits:
            found[what, who] = total
    return found
