"""The table of measurements that were begun and have not ended."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Integer, Table, Text, delete, insert, select, update

from services.attribution.store import METADATA

TRY = Table(
    "measurement_try",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("begun", Integer, nullable=False),
)


def begun(connection: Connection, key: str) -> int:
    """How often it was begun without an end."""
    return connection.execute(select(TRY.c.begun).where(TRY.c.key == key)).scalar() or 0


def begin(connection: Connection, key: str) -> None:
    """Count one more."""
    if not connection.execute(update(TRY).where(TRY.c.key == key).values(begun=TRY.c.begun + 1)).rowcount:
        connection.execute(insert(TRY).values(key=key, begun=1))


def end(connection: Connection, key: str) -> None:
    """It has ended, well or not: the count begins anew."""
    connection.execute(delete(TRY).where(TRY.c.key == key))
