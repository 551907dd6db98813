"""OpenLoRA's tables: the leases it asked the ledger for, and the durable log of traces.

A lease is written down before it is asked for (`asking`), when it is had (`open`) and when it was given back
(`closed`), so that whatever moment the process dies in, the next one knows what to give back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from services.kit.database import Amount
from services.kit.durable_log import log_tables

METADATA = MetaData()
log_tables(METADATA)
LEASE = Table(
    "lease",
    METADATA,
    Column("request_id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("asked", Amount, nullable=False),
    Column("state", Text, nullable=False, index=True),
    # The log's last offset when the lease was asked for: every trace charged to it comes later.
    Column("log_offset", BigInteger, nullable=False),
    Column("name", Text, unique=True),
    Column("amount", Amount),
    Column("expire_time", DateTime(timezone=True)),
    Column("used", Amount),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
PROBE = Table(
    "space_probe",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

ASKING, OPEN, CLOSED = "asking", "open", "closed"
_PROBE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Asked:
    """A lease that was asked for; whether the ledger gave it is not known."""

    request_id: str
    account: str
    amount: int
    log_offset: int


@dataclass(frozen=True)
class Held:
    """A lease that the ledger gave and that was not given back."""

    name: str
    account: str
    amount: int
    expires: float
    log_offset: int


def ask(connection: Connection, asked: Asked) -> None:
    """A lease is about to be asked for."""
    connection.execute(
        insert(LEASE).values(
            request_id=asked.request_id,
            account=asked.account,
            asked=asked.amount,
            state=ASKING,
            log_offset=asked.log_offset,
        )
    )


def hold(connection: Connection, request_id: str, name: str, amount: int, expires: float) -> None:
    """The ledger gave it.  `expires` in Unix seconds."""
    connection.execute(
        update(LEASE)
        .where(LEASE.c.request_id == request_id)
        .values(state=OPEN, name=name, amount=amount, expire_time=datetime.fromtimestamp(expires, UTC))
    )


def refused(connection: Connection, request_id: str) -> None:
    """The ledger will not give it."""
    connection.execute(delete(LEASE).where(LEASE.c.request_id == request_id, LEASE.c.state == ASKING))


def close(connection: Connection, name: str, used: int) -> None:
    """It was given back."""
    connection.execute(update(LEASE).where(LEASE.c.name == name).values(state=CLOSED, used=used))


def asked(connection: Connection) -> Sequence[Asked]:
    """Leases of which it is not known whether the ledger gave them, oldest first."""
    rows = connection.execute(select(LEASE).where(LEASE.c.state == ASKING).order_by(LEASE.c.create_time))
    return [Asked(row.request_id, row.account, row.asked, row.log_offset) for row in rows]


def held(connection: Connection) -> Sequence[Held]:
    """Leases that were not given back, oldest first."""
    rows = connection.execute(select(LEASE).where(LEASE.c.state == OPEN).order_by(LEASE.c.create_time))
    return [_held(row) for row in rows]


def _held(row: Row[Any]) -> Held:
    expires: datetime = row.expire_time
    if expires.tzinfo is None:  # SQLite keeps no zone; what was written is UTC
        expires = expires.replace(tzinfo=UTC)
    return Held(row.name, row.account, row.amount, expires.timestamp(), row.log_offset)


def take_space(connection: Connection) -> None:
    """Write as much as some answers need; raises the database's error when there is no room for it."""
    connection.execute(delete(PROBE))
    connection.execute(insert(PROBE).values(id=1, data=bytes(_PROBE_BYTES)))


def give_space(connection: Connection) -> None:
    """Let go of what `take_space` took: answers will want it."""
    connection.execute(delete(PROBE))
