"""Settlements' journals and the balances that they move: a million of books in one transaction, the caller's.

Each book is moved once, after all journals were written, by how much they moved it in all.  On PostgreSQL that may go
on while the caller computes from the same numbers (`beside`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import Column, Connection, MetaData, Table, Text, select, text, type_coerce

from services.kit.ahead import ahead
from services.kit.database import Amount
from services.ledger.journal import Journal
from services.ledger.store import books, bulk
from services.ledger.store.tables import BALANCE

Moved = Mapping[str, int]
"""By how many atomic units books are moved; none both ways: a settlement takes from pools, and gives to all others."""

_TOGETHER = 20_000
"""Postings that are written at once, and balances that are read at once."""
_CACHE_KIB = 256 * 1024
_COLUMNS = ("book", "credits", "debits")
_MOVED = Table(
    "moved",
    MetaData(),
    Column("book", Text),
    Column("credits", Amount),
    Column("debits", Amount),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)
# A hash join keeps the order of one side, and both are in the order in which the books lie: each page is changed once.
_BEGIN = (
    "ANALYZE moved",
    "SET LOCAL work_mem = '128MB'",
    "SET LOCAL enable_nestloop = off",
    "SET LOCAL enable_mergejoin = off",
)
_CHANGE = """UPDATE balance SET credits = balance.credits + moved.credits, debits = balance.debits + moved.debits
    FROM moved WHERE balance.book = moved.book"""
_ADD = """INSERT INTO balance (book, credits, debits) SELECT book, credits, debits FROM moved
    WHERE NOT EXISTS (SELECT 1 FROM balance WHERE balance.book = moved.book)"""
_END = (
    "DROP TABLE moved",
    "SET LOCAL enable_mergejoin = DEFAULT",
    "SET LOCAL enable_nestloop = DEFAULT",
    "SET LOCAL work_mem = DEFAULT",
)


@contextmanager
def beside(connection: Connection) -> Iterator[Callable[..., None]]:
    """`ahead`, for what is done by the database.

    On SQLite it is done at once: its driver wants the interpreter for every row, and two threads would take turns.
    """
    if connection.dialect.name == "postgresql":
        with ahead() as soon:
            yield soon
    else:
        yield lambda work, *arguments: work(*arguments)


@contextmanager
def _room(connection: Connection) -> Iterator[None]:
    """Memory for SQLite's pages: settlements touch them in no order, and each would be read and written many times."""
    if connection.dialect.name == "postgresql":
        yield
        return
    before = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    connection.exec_driver_sql(f"PRAGMA cache_size = {-_CACHE_KIB}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA cache_size = {before}")


def write(connection: Connection, journals: Iterable[Journal]) -> dict[str, int]:
    """Write settlements, however many postings they have; returns what is to be moved (`Moved`).

    Call `books.lock` first.  While some are written, the next ones are asked for: what gives them may not use the
    connection from the first on.
    """
    moved: dict[str, int] = {}
    with _room(connection), beside(connection) as soon:
        for page in _pages(journals):
            for journal in page:
                for name, amount in journal.postings.items():
                    moved[name] = moved.get(name, 0) + amount
            soon(books.write, connection, page)
    return moved


def move(connection: Connection, moved: Moved) -> None:
    """Move the balances of what was written.  Fastest where `moved` is in the order in which books are read."""
    if not moved:
        return
    if connection.dialect.name == "sqlite":
        with _room(connection):
            _move_where_they_lie(connection, moved)
        return
    _MOVED.create(connection)
    bulk.add(connection, _MOVED, _COLUMNS, (_sums(*each) for each in moved.items()))
    for statement in _BEGIN:
        connection.execute(text(statement))
    if connection.execute(text(_CHANGE)).rowcount < len(moved):
        connection.execute(text(_ADD))
    for statement in _END:
        connection.execute(text(statement))


def _move_where_they_lie(connection: Connection, moved: Moved) -> None:
    """On SQLite, which cannot add amounts: all balances are looked through, and changed by their places."""
    fresh, place = dict(moved), 0
    rowid: Column[int] = Column("rowid")
    # As texts: they become numbers only where they change.
    credited, debited = type_coerce(BALANCE.c.credits, Text), type_coerce(BALANCE.c.debits, Text)
    query = select(rowid, BALANCE.c.book, credited, debited).select_from(BALANCE).order_by(rowid)
    while found := connection.execute(query.where(rowid > place).limit(_TOGETHER)).all():
        changed = [
            (str(int(into) + max(amount, 0)), str(int(out) + max(-amount, 0)), row)
            for row, name, into, out in found
            if (amount := fresh.pop(name, 0))
        ]
        if changed:
            connection.exec_driver_sql("UPDATE balance SET credits = ?, debits = ? WHERE rowid = ?", changed)
        place = found[-1][0]
    bulk.add(connection, BALANCE, _COLUMNS, [_sums(*each) for each in fresh.items()])


def _sums(name: str, amount: int) -> tuple[str, int, int]:
    return name, max(amount, 0), max(-amount, 0)


def _pages(journals: Iterable[Journal]) -> Iterator[Sequence[Journal]]:
    page: list[Journal] = []
    postings = 0
    for journal in journals:
        page.append(journal)
        postings += len(journal.postings)
        if postings >= _TOGETHER:
            yield page
            page, postings = [], 0
    if page:
        yield page
