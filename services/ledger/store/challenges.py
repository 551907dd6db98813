"""Sign-in messages that were used, for as long as somebody might take them for good."""

from __future__ import annotations

from sqlalchemy import Connection, delete

from services.ledger.store.tables import CHALLENGE, insert_new

CLOCKS = 600
"""Seconds by which the clocks of two replicas may differ: where one thinks that a message lives, it is still known."""


def use(connection: Connection, nonce: str, expire_time: int) -> bool:
    """Whether it is the first time, whoever else tries meanwhile.  `expire_time` in Unix seconds."""
    return insert_new(connection, CHALLENGE, nonce=nonce, message="", expire_time=expire_time)


def purge(connection: Connection, now: int) -> None:
    """Forget what no replica takes any more."""
    connection.execute(delete(CHALLENGE).where(CHALLENGE.c.expire_time <= now - CLOCKS))
