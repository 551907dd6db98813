"""The books against their journals: read in order, in constant memory, so that there may be any number of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Select, exists, select

from services.ledger.journal import UNDOING
from services.ledger.store import books, bulk, control
from services.ledger.store.books import Sums
from services.ledger.store.tables import BALANCE, JOURNAL, POSTING

_PIECE = 5000


@dataclass(frozen=True)
class Wrong:
    """A book that holds something else than its postings say."""

    book: str
    held: Sums
    posted: Sums


def unbalanced(connection: Connection) -> list[int]:
    """Numbers of journals whose postings do not sum to zero, that are missing, or that are beyond the last written."""
    last = control.last(connection)
    query = select(POSTING.c.journal, POSTING.c.amount, JOURNAL.c.number)
    query = query.outerjoin(JOURNAL, JOURNAL.c.number == POSTING.c.journal).order_by(POSTING.c.journal)
    found = []
    for number, rows in groupby(_read(connection, query), attrgetter("journal")):
        total, missing = 0, False
        for row in rows:
            total, missing = total + row.amount, missing or row.number is None
        if total or missing or number > last:
            found.append(number)
    return found


def wrong(connection: Connection) -> list[Wrong]:
    """The books that do not hold what their postings say, in the order of their names."""
    query = select(POSTING.c.book, POSTING.c.amount, JOURNAL.c.kind, BALANCE.c.credits, BALANCE.c.debits)
    query = query.outerjoin(JOURNAL, JOURNAL.c.number == POSTING.c.journal)
    query = query.outerjoin(BALANCE, BALANCE.c.book == POSTING.c.book).order_by(POSTING.c.book)
    found = []
    for name, rows in groupby(_read(connection, query), attrgetter("book")):
        into = out = 0
        for row in rows:
            added = (row.amount > 0) is not (row.kind in UNDOING)
            into, out = (into + row.amount, out) if added else (into, out - row.amount)
        held = Sums(row.credits or 0, row.debits or 0)
        if held != (posted := Sums(into, out)):
            found.append(Wrong(name, held, posted))
    return found + _without_postings(connection)


def rebuild(connection: Connection) -> list[Wrong]:
    """Make every book hold what its postings say; returns those that did not.  Call `books.lock` first."""
    found = wrong(connection)
    names = books.sums(connection, [one.book for one in found]).keys()
    rows = [(one.book, one.posted.credits, one.posted.debits) for one in found]
    columns = ("credits", "debits")
    bulk.change(connection, BALANCE, "book", columns, [row for row in rows if row[0] in names])
    bulk.add(connection, BALANCE, ("book", *columns), [row for row in rows if row[0] not in names])
    return found


def _without_postings(connection: Connection) -> list[Wrong]:
    query = select(BALANCE).where(~exists().where(POSTING.c.book == BALANCE.c.book)).order_by(BALANCE.c.book)
    held = [(row.book, Sums(row.credits, row.debits)) for row in connection.execute(query)]
    return [Wrong(name, sums, Sums()) for name, sums in held if sums != Sums()]


def _read(connection: Connection, query: Select[Any]) -> Iterator[Any]:
    return iter(connection.execute(query, execution_options={"yield_per": _PIECE}))
