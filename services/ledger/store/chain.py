"""Transactions on their way to the chain with every attempt at them, and how far the chain was read.

What moves a transaction on says from where: nothing happens when it is somewhere else by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from services.ledger.chain import Call
from services.ledger.signing import SignedTransaction
from services.ledger.store import sender as sender_store
from services.ledger.store.tables import ATTEMPT, FOLLOWED, TRANSACTION, insert_new


class State(StrEnum):
    """The life of a transaction.  `SIGNED` may have been sent, or not; its bytes are on disk either way."""

    PLANNED = "planned"
    SIGNED = "signed"
    MINED = "mined"
    FINAL = "final"
    FAILED = "failed"


_UNFINISHED = tuple(map(str, (State.PLANNED, State.SIGNED, State.MINED)))
_NOWHERE: dict[str, Any] = {"block": -1, "block_hash": ""}
_ENDED = tuple(map(str, (State.FINAL, State.FAILED)))


@dataclass(frozen=True)
class Attempt:
    """Signed bytes and their hash."""

    hash: str
    raw: bytes


@dataclass(frozen=True)
class Transaction:
    """One transaction.  `key` says what it is for; the rest fills in as it goes."""

    key: str
    number: int
    state: State
    call: Call
    nonce: int | None = None
    raw: bytes | None = None
    hash: str = ""
    block: int = 0
    block_hash: str = ""
    error: str = ""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in (State.FINAL, State.FAILED)


def plan(connection: Connection, key: str, call: Call, *, again: bool = False) -> Transaction:
    """The transaction of that key, planned if there is none; `again`: also if the last try failed."""
    # One plans at a time: two at once would give their transactions one number, or one key two transactions.
    sender_store.lock_all(connection)
    found = get(connection, key)
    if found is not None and not (again and found.state is State.FAILED):
        return found
    if found is not None:
        fresh = dict.fromkeys(("nonce", "raw", "hash", "block", "block_hash"))
        _update(connection, found, state=State.PLANNED, data=call.data, error="", **fresh)
    else:
        assert call.to is not None
        number = connection.execute(select(func.coalesce(func.max(TRANSACTION.c.number), 0))).scalar_one() + 1
        connection.execute(
            insert(TRANSACTION).values(
                key=key,
                number=number,
                state=str(State.PLANNED),
                to=call.to,
                data=call.data,
                error="",
                create_time=datetime.now(UTC),
            )
        )
    planned = get(connection, key)
    assert planned is not None
    return planned


def get(connection: Connection, key: str) -> Transaction | None:
    """One transaction."""
    row = connection.execute(select(TRANSACTION).where(TRANSACTION.c.key == key)).first()
    return None if row is None else _transaction(row)


def keys(connection: Connection, prefix: str) -> list[str]:
    """Keys that begin so, of transactions that did not fail."""
    query = select(TRANSACTION.c.key).where(TRANSACTION.c.key.startswith(prefix, autoescape=True))
    return list(connection.execute(query.where(TRANSACTION.c.state != str(State.FAILED))).scalars())


def unfinished(connection: Connection) -> list[Transaction]:
    """What is still to be done, in the order in which it was planned."""
    query = select(TRANSACTION).where(TRANSACTION.c.state.in_(_UNFINISHED)).order_by(TRANSACTION.c.number)
    return [_transaction(row) for row in connection.execute(query)]


def relayed(connection: Connection, prefixes: Sequence[str], since: datetime) -> tuple[list[bytes], list[Call]]:
    """Under keys that begin so: the bytes of each nonce that was first used since then (UTC), and what is planned."""
    mine = or_(*(ATTEMPT.c.key.startswith(prefix, autoescape=True) for prefix in prefixes))
    signed = select(ATTEMPT.c.raw).where(mine, ATTEMPT.c.number == 1, ATTEMPT.c.create_time >= since)
    ours = or_(*(TRANSACTION.c.key.startswith(prefix, autoescape=True) for prefix in prefixes))
    planned = select(TRANSACTION).where(ours, TRANSACTION.c.state == str(State.PLANNED))
    return list(connection.execute(signed).scalars()), [_transaction(row).call for row in connection.execute(planned)]


def newest_ended(connection: Connection, up_to: int | None = None) -> Transaction | None:
    """Of those that ended in a block, the one in the highest, or the highest up to that one."""
    query = select(TRANSACTION).where(TRANSACTION.c.state.in_(_ENDED), TRANSACTION.c.block.is_not(None))
    if up_to is not None:
        query = query.where(TRANSACTION.c.block <= up_to)
    row = connection.execute(query.order_by(TRANSACTION.c.block.desc(), TRANSACTION.c.nonce.desc()).limit(1)).first()
    return None if row is None else _transaction(row)


def attempts(connection: Connection, sender: str, nonce: int) -> list[Attempt]:
    """Everything that was signed with that nonce, newest first."""
    query = select(ATTEMPT.c.hash, ATTEMPT.c.raw).where(ATTEMPT.c.sender == sender, ATTEMPT.c.nonce == nonce)
    return [Attempt(row.hash, row.raw) for row in connection.execute(query.order_by(ATTEMPT.c.number.desc()))]


def signed(connection: Connection, was: Transaction, sender: str, attempt: SignedTransaction) -> None:
    """Keep the bytes, before anybody else sees them: the first ones, or others in their stead."""
    if not _update(
        connection, was, state=State.SIGNED, sender=sender, nonce=attempt.nonce, raw=attempt.raw, hash=attempt.hash
    ):
        return
    mine = select(func.count()).where(ATTEMPT.c.sender == sender, ATTEMPT.c.nonce == attempt.nonce)
    number = connection.execute(mine).scalar_one() + 1
    values = {"key": was.key, "sender": sender, "number": number, "create_time": datetime.now(UTC)}
    insert_new(connection, ATTEMPT, hash=attempt.hash, nonce=attempt.nonce, raw=attempt.raw, **values)


def mined(connection: Connection, was: Transaction, attempt: Attempt, block: int, block_hash: str, error: str) -> None:
    """One of its attempts is in a block; with `error` set it failed there."""
    where = {"block": block, "block_hash": block_hash, "error": error}
    _update(connection, was, state=State.MINED, raw=attempt.raw, hash=attempt.hash, **where)


def ended(connection: Connection, was: Transaction, *, error: str) -> bool:
    """Nothing will change any more, unless the chain takes its block back; says whether it ended now."""
    return _update(connection, was, state=State.FAILED if error else State.FINAL, error=error)


def unmined(connection: Connection, was: Transaction) -> bool:
    """Its block is gone: the same bytes are sent again."""
    return _update(connection, was, state=State.SIGNED, block=None, block_hash=None, error="")


def unsigned(connection: Connection, was: Transaction) -> None:
    """Its bytes can never be mined, since another transaction has the nonce: it is signed anew."""
    if _update(connection, was, state=State.PLANNED, nonce=None, raw=None, hash=None):
        connection.execute(delete(ATTEMPT).where(ATTEMPT.c.key == was.key, ATTEMPT.c.nonce == was.nonce))


def followed(connection: Connection, contract: str) -> tuple[int, str] | None:
    """The newest block whose events are journaled, and its hash; None where it is read from its beginning."""
    row = connection.execute(select(FOLLOWED).where(FOLLOWED.c.contract == contract).with_for_update()).first()
    return (row.block, row.block_hash) if row is not None and row.block_hash else None


def follow(connection: Connection, contract: str, block: int, block_hash: str) -> None:
    """Everything up to that block is journaled."""
    _follow(connection, contract, block=block, block_hash=block_hash)


def forget_place(connection: Connection, contract: str) -> None:
    """It is followed from its beginning: what was read and is known by its blocks stays known meanwhile."""
    _follow(connection, contract, **_NOWHERE)


def read_time(connection: Connection, contract: str) -> int | None:
    """Unix seconds at which everything that counted then had been read; None while some of it has not."""
    return connection.execute(select(FOLLOWED.c.read_time).where(FOLLOWED.c.contract == contract)).scalar()


def note_read_time(connection: Connection, contract: str, when: int | None) -> None:
    """Note that everything has been read, or that it has not (None)."""
    _follow(connection, contract, read_time=when)


def took_back(connection: Connection, contract: str) -> None:
    """The chain took back what was read of it: what it holds instead is not read yet."""
    _follow(connection, contract, read_time=None, take_backs=FOLLOWED.c.take_backs + 1)


def take_backs(connection: Connection, contract: str) -> int:
    """How often it did: while that is the same, whatever was read still holds."""
    return connection.execute(select(FOLLOWED.c.take_backs).where(FOLLOWED.c.contract == contract)).scalar() or 0


def _follow(connection: Connection, contract: str, **values: Any) -> None:
    insert_new(connection, FOLLOWED, contract=contract, **_NOWHERE)
    connection.execute(update(FOLLOWED).where(FOLLOWED.c.contract == contract).values(**values))


def _update(connection: Connection, was: Transaction, *, state: State, **values: Any) -> bool:
    """The transaction in another state, if it is still where it was."""
    same = TRANSACTION.c.hash == was.hash if was.hash else TRANSACTION.c.hash.is_(None)
    where = (TRANSACTION.c.key == was.key, TRANSACTION.c.state == str(was.state), same)
    changed = update(TRANSACTION).where(*where).values(state=str(state), **values).returning(TRANSACTION.c.key)
    return connection.execute(changed).first() is not None


def _transaction(row: Row[Any]) -> Transaction:
    return Transaction(
        key=row.key,
        number=row.number,
        state=State(row.state),
        call=Call(row.to, row.data),
        nonce=row.nonce,
        raw=row.raw,
        hash=row.hash or "",
        block=row.block or 0,
        block_hash=row.block_hash or "",
        error=row.error,
    )
