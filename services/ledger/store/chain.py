"""Transactions on their way to the chain, the sender's nonce, and how far the chain was read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from services.ledger.chain import Call, SignedTransaction
from services.ledger.store.tables import FOLLOWED, SENDER, TRANSACTION, insert_new


class State(StrEnum):
    """The life of a transaction.  `SIGNED` may have been sent, or not; its bytes are on disk either way."""

    PLANNED = "planned"
    SIGNED = "signed"
    MINED = "mined"
    FINAL = "final"
    FAILED = "failed"


_UNFINISHED = tuple(map(str, (State.PLANNED, State.SIGNED, State.MINED)))


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


class LostPen(RuntimeError):
    """Another process sends for this account now; this one must not."""


def plan(connection: Connection, key: str, call: Call, *, again: bool = False) -> Transaction:
    """The transaction of that key, planned if there is none; `again`: also if the last try failed."""
    # One plans at a time: two at once would give their transactions one number, or one key two transactions.
    connection.execute(select(SENDER.c.address).order_by(SENDER.c.address).with_for_update())
    found = get(connection, key)
    if found is not None and not (again and found.state is State.FAILED):
        return found
    if found is not None:
        _update(connection, key, state=State.PLANNED, data=call.data, nonce=None, raw=None, hash=None, error="")
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


def unfinished(connection: Connection) -> list[Transaction]:
    """What is still to be done, in the order in which it was planned."""
    query = select(TRANSACTION).where(TRANSACTION.c.state.in_(_UNFINISHED)).order_by(TRANSACTION.c.number)
    return [_transaction(row) for row in connection.execute(query)]


def take_pen(connection: Connection, address: str) -> int:
    """Become the one sender for an account; returns the fence that every nonce is taken with."""
    insert_new(connection, SENDER, address=address, nonce=0, fence=0)
    connection.execute(update(SENDER).where(SENDER.c.address == address).values(fence=SENDER.c.fence + 1))
    return int(connection.execute(select(SENDER.c.fence).where(SENDER.c.address == address)).scalar_one())


def take_nonce(connection: Connection, address: str, fence: int, at_least: int) -> int:
    """The next nonce.  Use it in the same transaction.  Raises `LostPen`."""
    row = connection.execute(select(SENDER).where(SENDER.c.address == address).with_for_update()).one()
    if row.fence != fence:
        raise LostPen(f"another process sends for {address} since this one started: stop one of them")
    nonce = max(int(row.nonce), at_least)
    connection.execute(update(SENDER).where(SENDER.c.address == address).values(nonce=nonce + 1))
    return nonce


def signed(connection: Connection, key: str, sender: str, transaction: SignedTransaction) -> None:
    """Keep the bytes, before anybody else sees them."""
    _update(
        connection,
        key,
        state=State.SIGNED,
        sender=sender,
        nonce=transaction.nonce,
        raw=transaction.raw,
        hash=transaction.hash,
    )


def mined(connection: Connection, key: str, block: int, block_hash: str, *, error: str) -> None:
    """It is in a block; with `error` set it failed there."""
    _update(connection, key, state=State.MINED, block=block, block_hash=block_hash, error=error)


def ended(connection: Connection, key: str, *, error: str) -> None:
    """Nothing will change any more."""
    _update(connection, key, state=State.FAILED if error else State.FINAL, error=error)


def unmined(connection: Connection, key: str) -> None:
    """Its block is gone: the same bytes are sent again."""
    _update(connection, key, state=State.SIGNED, block=None, block_hash=None, error="")


def unsigned(connection: Connection, key: str) -> None:
    """Its bytes can never be mined, since another transaction has the nonce: it is signed anew."""
    _update(connection, key, state=State.PLANNED, nonce=None, raw=None, hash=None)


def followed(connection: Connection, contract: str) -> tuple[int, str] | None:
    """The newest block whose events are journaled, and its hash."""
    row = connection.execute(select(FOLLOWED).where(FOLLOWED.c.contract == contract).with_for_update()).first()
    return None if row is None else (row.block, row.block_hash)


def follow(connection: Connection, contract: str, block: int, block_hash: str) -> None:
    """Everything up to that block is journaled."""
    if not insert_new(connection, FOLLOWED, contract=contract, block=block, block_hash=block_hash):
        connection.execute(
            update(FOLLOWED).where(FOLLOWED.c.contract == contract).values(block=block, block_hash=block_hash)
        )


def _update(connection: Connection, key: str, *, state: State, **values: Any) -> None:
    connection.execute(update(TRANSACTION).where(TRANSACTION.c.key == key).values(state=str(state), **values))


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
