"""Up to when all receipts were read: the time by which leases end what they reserve.

While receipts wait (for a chain that is not read, for a service that is away, for this one) it stands still, so that
what they are paid from is not lent to others, nor given back; and after that for as long as they may still come late
(`services.ledger.reading`).  Runs inside the caller's transaction.

What it does not know: whether all receipts were made that were to be made by then.  A lease's grace is for those.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from services.ledger.reading import Reading
from services.ledger.store.tables import RECEIPTS_READ, insert_new


def until(connection: Connection, now: float) -> float:
    """Unix seconds, never after `now`; `now` itself where no receipts are read.

    Ask once the payers are locked: it goes on in between, and nobody may free by an earlier one what a later one holds.
    """
    return min((_reading(row).until(now) for row in connection.execute(select(RECEIPTS_READ))), default=now)


def time(connection: Connection, now: float) -> float:
    """Up to when they were read, in Unix seconds; `now` where none are read."""
    return min((row.time for row in connection.execute(select(RECEIPTS_READ))), default=now)


def begin(connection: Connection, source: str, now: float) -> None:
    """Receipts of that log are read from now on, if they were not before."""
    insert_new(connection, RECEIPTS_READ, source=source, **vars(Reading(int(now))))


def end(connection: Connection, source: str) -> None:
    """They are not read any more: nothing is reserved for them any longer than the clock says."""
    connection.execute(delete(RECEIPTS_READ).where(RECEIPTS_READ.c.source == source))


def note(connection: Connection, source: str, when: float, waited: float = 0) -> None:
    """All that were there at that time (Unix seconds) were read (`reading.Read`).  Lock the books first."""
    begin(connection, source, when)
    of = RECEIPTS_READ.c.source == source
    before = _reading(connection.execute(select(RECEIPTS_READ).where(of)).one())
    connection.execute(update(RECEIPTS_READ).where(of).values(**vars(before.noted(int(when), waited))))


def _reading(row: Row[Any]) -> Reading:
    return Reading(row.time, row.stands, row.goes)
