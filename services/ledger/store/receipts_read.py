"""Up to when all receipts were read: the time by which leases end what they reserve.

While receipts wait (for a chain that is not read, for a service that is away, for this one) it stands still, so that
what they are paid from is not lent to others, nor given back.  Runs inside the caller's transaction.

What it does not know: whether all receipts were made that were to be made by then.  A lease's grace is for those.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, select, update

from services.ledger.store import payers
from services.ledger.store.tables import RECEIPTS_READ, insert_new

BREAK_SECONDS = 120
"""More than passes between two notes while nothing waits: a call's long wait, and as long a rest again."""


def until(connection: Connection, now: float) -> float:
    """Unix seconds, never after `now`; `now` itself where no receipts are read.

    Ask once the payers are locked: it goes on in between, and nobody may free by an earlier one what a later one holds.
    """
    read = connection.execute(select(func.min(RECEIPTS_READ.c.time))).scalar()
    return now if read is None else min(now, read)


def begin(connection: Connection, source: str, now: float) -> None:
    """Receipts of that log are read from now on, if they were not before."""
    insert_new(connection, RECEIPTS_READ, source=source, time=int(now))


def end(connection: Connection, source: str) -> None:
    """They are not read any more: nothing is reserved for them any longer than the clock says."""
    connection.execute(delete(RECEIPTS_READ).where(RECEIPTS_READ.c.source == source))


def note(connection: Connection, source: str, when: float, grace: int) -> None:
    """All that were there at that time (Unix seconds) were read.  Lock the books first.

    After a break, whatever leases still reserve has as long again as the break lasted, and `grace`: so long may those
    take who make the receipts that could not be made meanwhile.
    """
    begin(connection, source, when)
    before = connection.execute(select(RECEIPTS_READ.c.time).where(RECEIPTS_READ.c.source == source)).scalar_one()
    broke = int(when) - before
    if broke > BREAK_SECONDS:
        payers.hold_leases(connection, before, int(when) + broke + grace)
    connection.execute(update(RECEIPTS_READ).where(RECEIPTS_READ.c.source == source).values(time=int(when)))
