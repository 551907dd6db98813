"""Sign-in messages that were given out and not used yet."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, select

from services.ledger.store.tables import CHALLENGE


def put(connection: Connection, nonce: str, message: str, expire_time: int) -> None:
    """Keep a message."""
    connection.execute(insert(CHALLENGE).values(nonce=nonce, message=message, expire_time=expire_time))


def take(connection: Connection, nonce: str) -> tuple[str, int] | None:
    """The message of that nonce and when it ends; it is gone with this transaction, whoever else asks."""
    taken = delete(CHALLENGE).where(CHALLENGE.c.nonce == nonce).returning(CHALLENGE.c.message, CHALLENGE.c.expire_time)
    row = connection.execute(taken).first()
    return None if row is None else (row.message, row.expire_time)


def purge(connection: Connection, now: int) -> None:
    """Forget what ended."""
    connection.execute(delete(CHALLENGE).where(CHALLENGE.c.expire_time <= now))


def count(connection: Connection) -> int:
    """How many are waiting."""
    return int(connection.execute(select(func.count()).select_from(CHALLENGE)).scalar_one())
