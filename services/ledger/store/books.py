"""Journals, postings and balances: everything that is written here is written in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, or_, select, update

from services.kit.database import bound_pause
from services.ledger.journal import PAYER as PAYER_BOOKS
from services.ledger.journal import UNDOING, Journal, Kind, Unbalanced
from services.ledger.store import bulk
from services.ledger.store.tables import BALANCE, CORRECTION, HEAD, JOURNAL, POSTING, RECEIPT, REJECTED, insert_new

_HEAD_ID = 1
_NOTHING: Mapping[str, int] = {}
PAUSE_SECONDS = 5.0
"""How long a paused process keeps the books, or a payer, from the others."""
_JOURNAL = ("number", "kind", "key", "payload_sha256", "cause", "create_time")
_LINE = ("journal", "line", "book", "amount")
_RECEIPT = ("response", "journal", "sha256", "payer", "fee", "shares", "payees")
_REJECTED = ("sha256", "response", "payer", "reason", "message", "document", "create_time")


class Sums(NamedTuple):
    """A book's postings: what went in, what went out (both positive), in atomic units.

    A void, and a correction, lessens what it undoes.
    """

    credits: int = 0
    debits: int = 0

    @property
    def balance(self) -> int:
        """In minus out."""
        return self.credits - self.debits


@dataclass(frozen=True)
class Payout:
    """A journaled receipt.  `payees` are the addresses that it pays."""

    response: str
    sha256: str
    payer: str
    fee: int
    shares: Mapping[str, int]
    payees: frozenset[str]
    epoch: int | None
    correction: int | None = None
    """The journal that took it back."""


@dataclass(frozen=True)
class Refused:
    """A receipt that was not booked, and why; `reason` is UPPER_SNAKE."""

    sha256: str
    response: str
    payer: str
    reason: str
    message: str
    document: bytes


def lock(connection: Connection) -> None:
    """Become the one writer of journals until this transaction ends.

    Whoever computes for seconds between two statements after this asks for more (`bound_pause`).
    """
    bound_pause(connection, PAUSE_SECONDS)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")  # what a journal is made of comes before it
    insert_new(connection, HEAD, id=_HEAD_ID, journals=0)
    connection.execute(select(HEAD.c.journals).where(HEAD.c.id == _HEAD_ID).with_for_update())


def next_number(connection: Connection) -> int:
    """The number that the next journal gets.  Call `lock` first."""
    return int(connection.execute(select(HEAD.c.journals).where(HEAD.c.id == _HEAD_ID)).scalar_one()) + 1


def payload_of(connection: Connection, key: str) -> str | None:
    """The payload digest of the journal with that key."""
    return connection.execute(select(JOURNAL.c.payload_sha256).where(JOURNAL.c.key == key)).scalar_one_or_none()


def payloads(connection: Connection, keys: Iterable[str]) -> dict[str, str]:
    """The payload digests of those of the keys that have a journal."""
    query = select(JOURNAL.c.key, JOURNAL.c.payload_sha256).where(bulk.among(JOURNAL.c.key, keys))
    return {row.key: row.payload_sha256 for row in connection.execute(query)}


def entry(connection: Connection, key: str) -> Journal | None:
    """The journal with that key."""
    head = connection.execute(select(JOURNAL).where(JOURNAL.c.key == key)).first()
    if head is None:
        return None
    rows = connection.execute(select(POSTING.c.book, POSTING.c.amount).where(POSTING.c.journal == head.number))
    postings = {row.book: row.amount for row in rows}
    return Journal(Kind(head.kind), head.key, head.payload_sha256, head.cause, postings)


def number_of(connection: Connection, key: str) -> int | None:
    """The number of the journal with that key."""
    return connection.execute(select(JOURNAL.c.number).where(JOURNAL.c.key == key)).scalar_one_or_none()


def has_cause(connection: Connection, kind: str, cause: str) -> bool:
    """Whether something of that kind was journaled for that cause."""
    query = select(JOURNAL.c.number).where(JOURNAL.c.cause == cause, JOURNAL.c.kind == kind).limit(1)
    return connection.execute(query).first() is not None


def post(connection: Connection, journal: Journal) -> int:
    """Write a journal and move its balances; returns its number.  See `post_all`."""
    return post_all(connection, [journal])


def post_all(connection: Connection, journals: Sequence[Journal], least: Mapping[str, int] = _NOTHING) -> int:
    """Write journals and move their balances; returns the number of the first, the others follow without gaps.

    Call `lock` first, in the same transaction.  Raises `Unbalanced` when a payer would have less than nothing at the
    end by anything but a void or a correction, or less than `least` says of its book: whoever calls checks that before.
    """
    first = write(connection, journals)
    move(connection, journals, least)
    return first


def write(connection: Connection, journals: Sequence[Journal]) -> int:
    """Write journals with their postings and move nothing; returns the number of the first."""
    first = next_number(connection)
    if not journals:
        return first
    now = datetime.now(UTC)
    heads = ((n, str(j.kind), j.key, j.payload_sha256, j.cause, now) for n, j in enumerate(journals, first))
    lines = (
        (number, line, book, amount)
        for number, journal in enumerate(journals, first)
        for line, (book, amount) in enumerate(sorted(journal.postings.items()))
    )
    if connection.dialect.name == "sqlite":
        # Its triggers see one row at a time: a journal is weighed when it joins its postings (migration 0003).
        bulk.add(connection, POSTING, _LINE, lines)
        bulk.add(connection, JOURNAL, _JOURNAL, heads)
    else:
        bulk.add(connection, JOURNAL, _JOURNAL, heads)
        bulk.add(connection, POSTING, _LINE, lines)
    last = first + len(journals) - 1
    connection.execute(update(HEAD).where(HEAD.c.id == _HEAD_ID).values(journals=last))
    return first


def move(connection: Connection, journals: Iterable[Journal], least: Mapping[str, int] = _NOTHING) -> None:
    """Move the balances of journals: each book once, however many of them touch it.  `least`: as of `post_all`."""
    moved: dict[str, tuple[int, int]] = {}
    spending: set[str] = set()
    for journal in journals:
        undoes = journal.kind in UNDOING
        for name, amount in journal.postings.items():
            into, out = moved.get(name, (0, 0))
            moved[name] = (into + amount, out) if (amount > 0) is not undoes else (into, out - amount)
            if amount < 0 and not undoes:
                spending.add(name)
    before = sums(connection, moved)
    known: list[tuple[str, int, int]] = []
    fresh: list[tuple[str, int, int]] = []
    for name, (into, out) in sorted(moved.items()):
        old = before.get(name, Sums())
        new = Sums(old.credits + into, old.debits + out)
        if name in spending and name.startswith(PAYER_BOOKS) and new.balance < least.get(name, 0):
            raise Unbalanced(f"{name} would be left with {new.balance}")
        (known if name in before else fresh).append((name, new.credits, new.debits))
    bulk.change(connection, BALANCE, "book", ("credits", "debits"), known)
    bulk.add(connection, BALANCE, ("book", "credits", "debits"), fresh)


def sums(connection: Connection, books: Collection[str]) -> dict[str, Sums]:
    """The sums of those of the books that have postings."""
    rows = connection.execute(
        select(BALANCE.c.book, BALANCE.c.credits, BALANCE.c.debits).where(bulk.among(BALANCE.c.book, books))
    )
    return {name: Sums(into, out) for name, into, out in rows}


def book(connection: Connection, name: str) -> Sums:
    """One book's sums."""
    return sums(connection, [name]).get(name, Sums())


def earned(connection: Connection, prefix: str) -> dict[str, int]:
    """All that ever went into each book of a prefix, by what follows the prefix."""
    query = select(BALANCE.c.book, BALANCE.c.credits).where(BALANCE.c.book.startswith(prefix))
    begin = len(prefix)
    return {name[begin:]: into for name, into in bulk.amounts(connection, query) if into}


def lines_of(
    connection: Connection, books: Collection[str], before: tuple[int, int] | None, limit: int
) -> list[Row[Any]]:
    """Lines of those books, newest first, after the place (journal, line)."""
    query = (
        select(POSTING.c.journal, POSTING.c.line, POSTING.c.book, POSTING.c.amount)
        .add_columns(JOURNAL.c.kind, JOURNAL.c.cause, JOURNAL.c.create_time)
        .join(JOURNAL, POSTING.c.journal == JOURNAL.c.number)
        .where(POSTING.c.book.in_(list(books)))
        .order_by(POSTING.c.journal.desc(), POSTING.c.line.desc())
        .limit(limit)
    )
    if before is not None:
        journal, line = before
        earlier = and_(POSTING.c.journal == journal, POSTING.c.line < line)
        query = query.where(or_(POSTING.c.journal < journal, earlier))
    return list(connection.execute(query))


def keep_receipt(connection: Connection, number: int, payout: Payout) -> None:
    """What the journal `number` was made of."""
    keep_receipts(connection, [(number, payout)])


def keep_receipts(connection: Connection, made: Iterable[tuple[int, Payout]]) -> None:
    """What journals, by their numbers, were made of."""
    bulk.add(connection, RECEIPT, _RECEIPT, (_receipt(number, payout) for number, payout in made))


def _receipt(number: int, payout: Payout) -> tuple[Any, ...]:
    shares = json.dumps({key: str(amount) for key, amount in payout.shares.items()})
    payees = " ".join(sorted(payout.payees))
    return payout.response, number, payout.sha256, payout.payer, payout.fee, shares, payees


def payout(connection: Connection, response: str) -> Payout | None:
    """The journaled receipt of an answer."""
    query = select(RECEIPT, JOURNAL.c.epoch, CORRECTION.c.journal.label("correction"))
    query = query.join(JOURNAL, RECEIPT.c.journal == JOURNAL.c.number)
    query = query.outerjoin(CORRECTION, CORRECTION.c.corrects == RECEIPT.c.journal)
    row = connection.execute(query.where(RECEIPT.c.response == response)).first()
    if row is None:
        return None
    shares = {key: int(amount) for key, amount in json.loads(row.shares).items()}
    payees = frozenset(row.payees.split())
    return Payout(row.response, row.sha256, row.payer, row.fee, shares, payees, row.epoch, row.correction)


def reject(connection: Connection, refused: Sequence[Refused]) -> None:
    """Keep receipts that were refused, none of which `rejected` knows.  Call `lock` first."""
    now = datetime.now(UTC)
    bulk.add(connection, REJECTED, _REJECTED, ((*astuple(entry), now) for entry in refused))


def rejected(connection: Connection, digests: Iterable[str]) -> set[str]:
    """Those of the digests whose receipts were refused before."""
    known = bulk.among(REJECTED.c.sha256, digests)
    return set(connection.execute(select(REJECTED.c.sha256).where(known)).scalars())


def rejection(connection: Connection, response: str) -> Row[Any] | None:
    """The newest refusal of a receipt for that answer."""
    query = select(REJECTED).where(REJECTED.c.response == response).order_by(REJECTED.c.create_time.desc())
    return connection.execute(query.limit(1)).first()
