"""Whose turn it is to send for an account, and the account's next nonce.

A turn ends by itself; each has a fence, and whoever writes under an older one finds out in that transaction.  Time is
the database's, so that no process's clock counts (SQLite has none but its one machine's).
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, Row, func, select, update

from services.kit.database import bound_pause
from services.ledger.store.tables import SENDER, insert_new

PAUSE_SECONDS = 2.0


class LostPen(RuntimeError):
    """Another process sends for this account now; this one must not."""


def take_pen(connection: Connection, address: str, holder: str, seconds: float) -> int | None:
    """The fence of the turn that begins now; None while somebody else has theirs.

    A holder that has the pen already gets a new turn: there is one process of that name, and its former life is over.
    """
    insert_new(connection, SENDER, address=address, nonce=0, fence=0, holder="", until=0)
    row = _locked(connection, address)
    now = _now(connection)
    if row.holder != holder and row.until > now:
        return None
    _update(connection, address, fence=row.fence + 1, holder=holder, until=now + int(1000 * seconds))
    return int(row.fence) + 1


def keep_pen(connection: Connection, address: str, fence: int, seconds: float) -> None:
    """Make the turn longer.  Raises `LostPen`."""
    _must_be(_locked(connection, address), fence)
    _update(connection, address, until=_now(connection) + int(1000 * seconds))


def drop_pen(connection: Connection, address: str, fence: int) -> None:
    """End the turn, if it is not over."""
    connection.execute(
        update(SENDER).where(SENDER.c.address == address, SENDER.c.fence == fence).values(holder="", until=0)
    )


def check_pen(connection: Connection, address: str, fence: int) -> None:
    """That this turn lasts until this transaction ends.  Raises `LostPen`."""
    _must_be(_locked(connection, address, read=True), fence)


def next_nonce(connection: Connection, address: str, at_least: int) -> int:
    """The nonce that the next transaction gets, if nobody is faster."""
    row = connection.execute(select(SENDER.c.nonce).where(SENDER.c.address == address)).one()
    return max(int(row.nonce), at_least)


def take_nonce(connection: Connection, address: str, fence: int, nonce: int) -> bool:
    """Take a nonce for what is stored in the same transaction; says whether it was free.  Raises `LostPen`."""
    row = _locked(connection, address)
    _must_be(row, fence)
    if int(row.nonce) > nonce:
        return False
    _update(connection, address, nonce=nonce + 1)
    return True


def lock_all(connection: Connection) -> None:
    """Nobody sends or takes the pen until this transaction ends."""
    bound_pause(connection, PAUSE_SECONDS)
    connection.execute(select(SENDER.c.address).order_by(SENDER.c.address).with_for_update())


def _locked(connection: Connection, address: str, *, read: bool = False) -> Row[tuple[object, ...]]:
    bound_pause(connection, PAUSE_SECONDS)
    return connection.execute(select(SENDER).where(SENDER.c.address == address).with_for_update(read=read)).one()


def _must_be(row: Row[tuple[object, ...]], fence: int) -> None:
    if row.fence != fence:
        raise LostPen(f"another process ({row.holder}) sends for {row.address} since this one had its turn")


def _update(connection: Connection, address: str, **values: object) -> None:
    connection.execute(update(SENDER).where(SENDER.c.address == address).values(**values))


def _now(connection: Connection) -> int:
    """Unix milliseconds.  Not of the transaction's begin: it may have waited for the row."""
    if connection.dialect.name == "postgresql":
        seconds = connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
        return int(seconds * 1000)
    return int(time.time() * 1000)
