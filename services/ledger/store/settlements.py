"""Receipts' documents and what was settled of them: written in the caller's transaction, read in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, Text, cast, delete, func, insert, or_, select

from services.ledger.journal import PAYABLE, Kind
from services.ledger.store import bulk, corrections
from services.ledger.store.tables import DOCUMENT, HEAD, JOURNAL, POSTING, SETTLEMENT

_PIECES = {"yield_per": 1000}
"""Of a statement, not of the connection: what is written in the same transaction is no cursor."""
_DOCUMENTS = 100
"""Read at once: some have a hundred kilobytes, of thousands of contributors."""


@dataclass(frozen=True)
class Settlement:
    """What one sealing settled: the journals above one number, through another."""

    epoch: int
    attempt: int
    above: int
    through: int

    @property
    def name(self) -> str:
        """As in the keys of its journals."""
        return f"{self.epoch}.{self.attempt}"


@dataclass(frozen=True)
class Entry:
    """A journal as it is published; the books and amounts of its postings, in the order of their lines."""

    number: int
    kind: str
    key: str
    payload_sha256: str
    cause: str
    books: Sequence[str]
    amounts: Sequence[str]


@contextmanager
def keeping(connection: Connection) -> Iterator[Callable[[int, bytes], None]]:
    """Keep receipts' documents, each by its journal's number.  See `bulk.stream`."""
    with bulk.stream(connection, DOCUMENT, ("journal", "document")) as send:
        yield lambda number, document: send((number, document))


def last(connection: Connection) -> int:
    """The newest journal that was there when something was last settled."""
    return int(connection.execute(select(func.max(SETTLEMENT.c.through))).scalar_one() or 0)


def documents(connection: Connection, above: int) -> Iterator[Sequence[bytes]]:
    """The receipts above that journal, in order and in pieces, without those that were taken back."""
    standing = ~corrections.taken_back(DOCUMENT.c.journal)
    query = select(DOCUMENT.c.document).where(DOCUMENT.c.journal > above, standing).order_by(DOCUMENT.c.journal)
    return connection.execute(query.execution_options(yield_per=_DOCUMENTS)).scalars().partitions()


def settled(connection: Connection, epoch: int, attempt: int, above: int) -> Settlement:
    """Everything above that journal is settled, up to the newest."""
    through = int(connection.execute(select(HEAD.c.journals)).scalar_one())
    found = Settlement(epoch, attempt, above, through)
    connection.execute(insert(SETTLEMENT).values(**vars(found)))
    return found


def settled_nothing(connection: Connection, epoch: int, attempt: int) -> None:
    """A sealing that settles nothing more than those of its epoch before it."""
    through = max((run.through for run in of_epoch(connection, epoch)), default=0)
    connection.execute(insert(SETTLEMENT).values(epoch=epoch, attempt=attempt, above=through, through=through))


def of_epoch(connection: Connection, epoch: int) -> list[Settlement]:
    """An epoch's settlements, one for each time that it was sealed."""
    query = select(SETTLEMENT).where(SETTLEMENT.c.epoch == epoch).order_by(SETTLEMENT.c.attempt)
    return [Settlement(*row) for row in connection.execute(query)]


def earned(connection: Connection, epoch: int, above: int, through: int) -> dict[str, int]:
    """What journals in that range gave to accounts: settlements, corrections, and answers that the epoch settles."""
    query = (
        select(POSTING.c.book, POSTING.c.amount)
        .join(JOURNAL, JOURNAL.c.number == POSTING.c.journal)
        .where(POSTING.c.journal > above, POSTING.c.journal <= through, POSTING.c.book.startswith(PAYABLE))
        .where(or_(JOURNAL.c.kind.in_([str(Kind.SETTLEMENT), str(Kind.CORRECTION)]), JOURNAL.c.epoch == epoch))
    )
    found: dict[str, int] = {}
    for book, amount in bulk.amounts(connection, query):
        who = book.removeprefix(PAYABLE)
        found[who] = found.get(who, 0) + amount
    return found


def oldest(connection: Connection) -> Settlement | None:
    """The one that settled the oldest receipt whose document is here."""
    first = select(func.min(DOCUMENT.c.journal)).scalar_subquery()
    row = connection.execute(
        select(SETTLEMENT).where(SETTLEMENT.c.above < first, SETTLEMENT.c.through >= first)
    ).first()
    return None if row is None else Settlement(*row)


def forget(connection: Connection, through: int, count: int) -> int:
    """Delete the documents of the oldest receipts, up to that journal; returns how many, at most `count`."""
    chosen = select(DOCUMENT.c.journal).where(DOCUMENT.c.journal <= through).order_by(DOCUMENT.c.journal).limit(count)
    return connection.execute(delete(DOCUMENT).where(DOCUMENT.c.journal.in_(chosen))).rowcount


def receipts(connection: Connection, above: int, through: int) -> Iterator[tuple[int, bytes]]:
    """(journal, document) of the receipts in that range, in order."""
    query = select(DOCUMENT.c.journal, DOCUMENT.c.document).order_by(DOCUMENT.c.journal)
    query = query.where(DOCUMENT.c.journal > above, DOCUMENT.c.journal <= through)
    for row in connection.execute(query.execution_options(**_PIECES)):
        yield row.journal, row.document


def entries(connection: Connection, above: int, through: int) -> Iterator[Entry]:
    """The journals of answers, settlements and corrections in that range, in order."""
    kinds = JOURNAL.c.kind.in_([str(Kind.INFERENCE), str(Kind.SETTLEMENT), str(Kind.CORRECTION)])
    lines = (
        select(POSTING.c.journal, POSTING.c.book, cast(POSTING.c.amount, Text))
        .join(JOURNAL, JOURNAL.c.number == POSTING.c.journal)
        .where(POSTING.c.journal > above, POSTING.c.journal <= through, kinds)
        .order_by(POSTING.c.journal, POSTING.c.line)
    )
    postings = groupby(connection.execute(lines.execution_options(**_PIECES)), itemgetter(0))
    waiting = next(postings, None)
    heads = select(JOURNAL.c.number, JOURNAL.c.kind, JOURNAL.c.key, JOURNAL.c.payload_sha256, JOURNAL.c.cause)
    heads = heads.where(JOURNAL.c.number > above, JOURNAL.c.number <= through, kinds).order_by(JOURNAL.c.number)
    for head in connection.execute(heads.execution_options(**_PIECES)):
        books: Sequence[str] = ()
        amounts: Sequence[str] = ()
        if waiting is not None and waiting[0] == head.number:  # a free answer's journal has no postings
            _, books, amounts = zip(*waiting[1], strict=True)
            waiting = next(postings, None)
        yield Entry(*head, books, amounts)
