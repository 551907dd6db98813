"""Settlements' journals and the balances that they move: a million of books in one transaction, the caller's.

On PostgreSQL balances are moved where they are, from the postings that were written, once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection, text

from services.kit.ahead import ahead
from services.ledger.journal import Journal
from services.ledger.store import books

_TOGETHER = 20_000
"""Postings that are written at once."""
# Books are changed in the order in which they lie, each page of them once: in any other order a million of them take
# four times as long.  Nobody else changes them meanwhile (`books.lock`), so that they stay in their places.
_MOVE = (
    "SET LOCAL work_mem = '128MB'",
    "SET LOCAL enable_nestloop = off",  # what was just written is in no statistics
    """CREATE TEMPORARY TABLE moved ON COMMIT DROP AS
        SELECT given.*, balance.ctid AS place FROM (
            SELECT book, sum(greatest(amount, 0)) AS credits, sum(greatest(-amount, 0)) AS debits
            FROM posting WHERE journal >= :first GROUP BY book
        ) AS given LEFT JOIN balance USING (book) ORDER BY place""",
    "ANALYZE moved",
    """UPDATE balance SET credits = balance.credits + moved.credits, debits = balance.debits + moved.debits
        FROM moved WHERE balance.ctid = moved.place""",
    "INSERT INTO balance (book, credits, debits) SELECT book, credits, debits FROM moved WHERE place IS NULL",
    "DROP TABLE moved",
    "SET LOCAL enable_nestloop = DEFAULT",
    "SET LOCAL work_mem = DEFAULT",
)


def post(connection: Connection, journals: Iterable[Journal]) -> None:
    """Write settlements, however many postings they have, and move their balances.  Call `books.lock` first.

    While some are written, the next ones are asked for: what gives them may not use the connection from the first on.
    """
    first = books.next_number(connection)
    with ahead() as soon:
        for page in _pages(journals):
            soon(_write, connection, page)
    if connection.dialect.name == "postgresql":
        for statement in _MOVE:
            connection.execute(text(statement), {"first": first} if ":first" in statement else {})


def _write(connection: Connection, journals: Sequence[Journal]) -> None:
    books.write(connection, journals)
    if connection.dialect.name == "sqlite":
        books.move(connection, journals)


def _pages(journals: Iterable[Journal]) -> Iterator[list[Journal]]:
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
