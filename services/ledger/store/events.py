"""What the chain told, by the block in which it stands; and who owes because it took something back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, delete, select

from services.ledger.journal import PAYER
from services.ledger.store.tables import BALANCE, EVENT, insert_new


@dataclass(frozen=True)
class Told:
    """An event.  `journal` is its key, None where it moved nothing.

    `withdrawing` and `redeemed` are what its account is asking back, and what was taken of its deposits in all, after
    it; None where it says nothing of that.
    """

    block: int
    log_index: int
    block_hash: str
    account: str
    journal: str | None = None
    withdrawing: int | None = None
    redeemed: int | None = None


def keep(connection: Connection, told: Told) -> bool:
    """Note it; says whether it is new."""
    return insert_new(connection, EVENT, **vars(told))


def places(connection: Connection, up_to: int, limit: int) -> list[tuple[int, str]]:
    """Blocks with events and their hashes, downwards from one."""
    query = select(EVENT.c.block, EVENT.c.block_hash).where(EVENT.c.block <= up_to).distinct()
    return [
        (row.block, row.block_hash) for row in connection.execute(query.order_by(EVENT.c.block.desc()).limit(limit))
    ]


def newest_place(connection: Connection) -> tuple[int, str] | None:
    """The newest block with events, and its hash."""
    row = connection.execute(select(EVENT.c.block, EVENT.c.block_hash).order_by(EVENT.c.block.desc()).limit(1)).first()
    return None if row is None else (row.block, row.block_hash)


def known(connection: Connection, first: int, last: int) -> set[tuple[int, int, str]]:
    """(block, log index, block hash) of the events in those blocks, both ends included."""
    query = select(EVENT.c.block, EVENT.c.log_index, EVENT.c.block_hash).where(EVENT.c.block.between(first, last))
    return {(row.block, row.log_index, row.block_hash) for row in connection.execute(query)}


def after(connection: Connection, block: int) -> list[Told]:
    """The events of later blocks, newest first."""
    query = select(EVENT).where(EVENT.c.block > block).order_by(EVENT.c.block.desc(), EVENT.c.log_index.desc())
    return [
        Told(row.block, row.log_index, row.block_hash, row.account, row.journal, row.withdrawing, row.redeemed)
        for row in connection.execute(query)
    ]


def any_after(connection: Connection, block: int) -> bool:
    """Whether there are events of later blocks."""
    return connection.execute(select(EVENT.c.block).where(EVENT.c.block > block).limit(1)).first() is not None


def forget_after(connection: Connection, block: int) -> None:
    """The events of later blocks are no longer part of the chain."""
    connection.execute(delete(EVENT).where(EVENT.c.block > block))


def withdrawing(connection: Connection, account: str) -> int:
    """What the account is asking back."""
    return _newest(connection, account, EVENT.c.withdrawing)


def redeemed(connection: Connection, account: str) -> int:
    """What was taken of the account's deposits in all."""
    return _newest(connection, account, EVENT.c.redeemed)


def debts(connection: Connection) -> dict[str, int]:
    """Payers that have less than nothing, and how much less: the chain took back what they had spent."""
    query = select(BALANCE.c.book, BALANCE.c.credits, BALANCE.c.debits).where(BALANCE.c.book.startswith(PAYER))
    rows = connection.execute(query)
    return {name.removeprefix(PAYER): out - into for name, into, out in rows if out > into}


def _newest(connection: Connection, account: str, column: Column[Any]) -> int:
    query = select(column).where(EVENT.c.account == account, column.is_not(None))
    newest = query.order_by(EVENT.c.block.desc(), EVENT.c.log_index.desc()).limit(1)
    return int(connection.execute(newest).scalar_one_or_none() or 0)
