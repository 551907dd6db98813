"""Journals, postings and balances: everything that is written here is written in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, insert, or_, select, update

from services.ledger.journal import PAYER as PAYER_BOOKS
from services.ledger.journal import Journal, Unbalanced
from services.ledger.store.tables import BALANCE, HEAD, JOURNAL, POSTING, RECEIPT, REJECTED, insert_new

_HEAD_ID = 1
_AT_ONCE = 10_000  # names in one question: a settlement may pay more than a database takes parameters
_SUMS: dict[str, Any] = {"credits": bindparam("in"), "debits": bindparam("out")}
_CHANGE = update(BALANCE).where(BALANCE.c.book == bindparam("name")).values(_SUMS)
_OPEN = insert(BALANCE).values(book=bindparam("name"), **_SUMS)


@dataclass(frozen=True)
class Sums:
    """A book's postings: what went in, what went out (both positive), in atomic units."""

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


def lock(connection: Connection) -> None:
    """Become the one writer of journals until this transaction ends."""
    insert_new(connection, HEAD, id=_HEAD_ID, journals=0)
    connection.execute(select(HEAD.c.journals).where(HEAD.c.id == _HEAD_ID).with_for_update())


def payload_of(connection: Connection, key: str) -> str | None:
    """The payload digest of the journal with that key."""
    return connection.execute(select(JOURNAL.c.payload_sha256).where(JOURNAL.c.key == key)).scalar_one_or_none()


def has_cause(connection: Connection, kind: str, cause: str) -> bool:
    """Whether something of that kind was journaled for that cause."""
    query = select(JOURNAL.c.number).where(JOURNAL.c.cause == cause, JOURNAL.c.kind == kind).limit(1)
    return connection.execute(query).first() is not None


def post(connection: Connection, journal: Journal) -> int:
    """Write a journal and move its balances; returns its number.  Call `lock` first, in the same transaction.

    Raises `Unbalanced` when a payer would have less than nothing: whoever calls checks that before.
    """
    number = int(connection.execute(select(HEAD.c.journals).where(HEAD.c.id == _HEAD_ID)).scalar_one()) + 1
    connection.execute(update(HEAD).where(HEAD.c.id == _HEAD_ID).values(journals=number))
    connection.execute(
        insert(JOURNAL).values(
            number=number,
            kind=str(journal.kind),
            key=journal.key,
            payload_sha256=journal.payload_sha256,
            cause=journal.cause,
            create_time=datetime.now(UTC),
        )
    )
    lines = sorted(journal.postings.items())
    if lines:
        rows = [{"journal": number, "line": i, "book": book, "amount": value} for i, (book, value) in enumerate(lines)]
        connection.execute(insert(POSTING), rows)
    _move(connection, journal)
    return number


def _move(connection: Connection, journal: Journal) -> None:
    before = sums(connection, journal.postings.keys())
    known: list[dict[str, Any]] = []
    fresh: list[dict[str, Any]] = []
    for name, amount in sorted(journal.postings.items()):
        old = before.get(name, Sums())
        new = Sums(old.credits + max(0, amount), old.debits + max(0, -amount))
        if name.startswith(PAYER_BOOKS) and new.balance < 0:
            raise Unbalanced(f"{journal.key} would leave {name} with {new.balance}")
        (known if name in before else fresh).append({"name": name, "in": new.credits, "out": new.debits})
    for statement, rows in ((_CHANGE, known), (_OPEN, fresh)):
        if rows:
            connection.execute(statement, rows)


def sums(connection: Connection, books: Collection[str]) -> dict[str, Sums]:
    """The sums of those of the books that have postings."""
    wanted, found = list(books), {}
    for start in range(0, len(wanted), _AT_ONCE):
        part = BALANCE.c.book.in_(wanted[start : start + _AT_ONCE])
        for row in connection.execute(select(BALANCE.c.book, BALANCE.c.credits, BALANCE.c.debits).where(part)):
            found[row.book] = Sums(row.credits, row.debits)
    return found


def book(connection: Connection, name: str) -> Sums:
    """One book's sums."""
    return sums(connection, [name]).get(name, Sums())


def earned(connection: Connection, prefix: str) -> dict[str, int]:
    """All that ever went into each book of a prefix, by what follows the prefix."""
    rows = connection.execute(select(BALANCE.c.book, BALANCE.c.credits).where(BALANCE.c.book.startswith(prefix)))
    return {row.book.removeprefix(prefix): row.credits for row in rows if row.credits}


def every_posting(connection: Connection) -> Iterator[tuple[str, str, int]]:
    """(kind, book, amount) of every posting, read in pieces."""
    query = select(JOURNAL.c.kind, POSTING.c.book, POSTING.c.amount).join(
        POSTING, POSTING.c.journal == JOURNAL.c.number
    )
    for row in connection.execution_options(yield_per=5000).execute(query):
        yield row.kind, row.book, row.amount


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
    connection.execute(
        insert(RECEIPT).values(
            response=payout.response,
            journal=number,
            sha256=payout.sha256,
            payer=payout.payer,
            fee=payout.fee,
            shares=json.dumps({key: str(amount) for key, amount in payout.shares.items()}),
            payees=" ".join(sorted(payout.payees)),
        )
    )


def payout(connection: Connection, response: str) -> Payout | None:
    """The journaled receipt of an answer."""
    query = select(RECEIPT, JOURNAL.c.epoch).join(JOURNAL, RECEIPT.c.journal == JOURNAL.c.number)
    row = connection.execute(query.where(RECEIPT.c.response == response)).first()
    if row is None:
        return None
    shares = {key: int(amount) for key, amount in json.loads(row.shares).items()}
    return Payout(row.response, row.sha256, row.payer, row.fee, shares, frozenset(row.payees.split()), row.epoch)


def reject(
    connection: Connection, digest: str, response: str, payer: str, reason: str, message: str, document: bytes
) -> bool:
    """Keep a receipt that was refused; says whether it was new."""
    return insert_new(
        connection,
        REJECTED,
        sha256=digest,
        response=response,
        payer=payer,
        reason=reason,
        message=message,
        document=document,
        create_time=datetime.now(UTC),
    )


def rejection(connection: Connection, response: str) -> Row[Any] | None:
    """The newest refusal of a receipt for that answer."""
    query = select(REJECTED).where(REJECTED.c.response == response).order_by(REJECTED.c.create_time.desc())
    return connection.execute(query.limit(1)).first()
