"""Control totals that were kept, and what they are compared with, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Text, cast, delete, func, select, update

from services.ledger.control import ControlTotals, Line
from services.ledger.store.tables import BALANCE, CONTROL_TOTAL, HEAD, JOURNAL, POSTING, insert_new

RUNNING, WHOLE = "running", "whole"
"""Up to the last look; and of a look at everything that is under way."""
_PIECES = {"yield_per": 5000}


class Kept(NamedTuple):
    """`whole_time`: when the look at everything ended on which these rest, or was here, Unix seconds."""

    totals: ControlTotals
    whole_time: int


def kept(connection: Connection, name: str) -> Kept | None:
    """What was kept under that name; None also where it is not what `begin` keeps."""
    row = connection.execute(select(CONTROL_TOTAL).where(CONTROL_TOTAL.c.name == name)).first()
    if row is None:
        return None
    try:
        return Kept(ControlTotals.loads(row.journals, row.totals), row.whole_time)
    except ValueError:
        return None


def begin(connection: Connection, name: str, totals: ControlTotals, whole_time: int) -> None:
    """Keep totals, whatever was kept under that name."""
    forget(connection, name)
    insert_new(connection, CONTROL_TOTAL, name=name, **_columns(totals), whole_time=whole_time)


def go_on(connection: Connection, totals: ControlTotals) -> None:
    """Keep running totals in place of earlier ones; what another process forgot stays forgotten."""
    earlier = (CONTROL_TOTAL.c.name == RUNNING) & (CONTROL_TOTAL.c.journals <= totals.journals)
    connection.execute(update(CONTROL_TOTAL).where(earlier).values(_columns(totals)))


def forget(connection: Connection, *names: str) -> None:
    """Keep nothing under those names."""
    connection.execute(delete(CONTROL_TOTAL).where(CONTROL_TOTAL.c.name.in_(names)))


def last(connection: Connection) -> int:
    """The number of the last journal that was written; 0 before the first."""
    return connection.execute(select(func.max(HEAD.c.journals))).scalar_one() or 0


def lines(connection: Connection, after: int, up_to: int | None = None) -> Iterator[Line]:
    """The postings of the journals after one up to another, or of all after it, in their order."""
    query = select(POSTING.c.journal, JOURNAL.c.kind, POSTING.c.book, cast(POSTING.c.amount, Text).label("text"))
    query = query.outerjoin(JOURNAL, JOURNAL.c.number == POSTING.c.journal)
    query = query.where(POSTING.c.journal > after).order_by(POSTING.c.journal)
    if up_to is not None:
        query = query.where(POSTING.c.journal <= up_to)
    for number, kind, book, text in _read(connection, query):
        yield number, kind, book, int(text)


def books(connection: Connection) -> Iterator[tuple[str, int, int]]:
    """Every book: name, credits, debits."""
    into, out = cast(BALANCE.c.credits, Text).label("into"), cast(BALANCE.c.debits, Text).label("out")
    for name, credited, debited in _read(connection, select(BALANCE.c.book, into, out)):
        yield name, int(credited), int(debited)


def _columns(totals: ControlTotals) -> dict[str, Any]:
    return {"journals": totals.journals, "totals": totals.dumps()}


def _read(connection: Connection, query: Select[Any]) -> Iterator[Any]:
    return iter(connection.execute(query, execution_options=_PIECES))
