"""OpenLoRA's tables beside the log of traces: payers' keys, accounts of answers whose traces went, its reader's place.

A data key is there in wrapped form alone.  Of an answer whose trace went, its account stays for ever: the request id
must not be answered and charged anew.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, DateTime, Table, Text, func, insert, select, update

from services.kit.database import Amount
from services.openlora.sealing import Head
from services.openlora.store import METADATA

PAYER_KEY = Table(
    "payer_key",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("payer", Text, nullable=False, index=True),
    Column("wrapped", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
ANSWERED = Table(
    "answered",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("payer", Text, nullable=False),
    Column("lease", Text, nullable=False),
    Column("fee", Amount, nullable=False),
    Column("trace_sha256", Text, nullable=False),
    Column("tokens_in", BigInteger, nullable=False),
    Column("tokens_out", BigInteger, nullable=False),
    Column("finish_reason", Text, nullable=False),
    Column("time", Text, nullable=False),
)
READER = Table(
    "reader",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("acknowledged", BigInteger, nullable=False),
)
REPLAYED = Table(
    "replayed",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("tokens", BigInteger, nullable=False),
    Column("matched", BigInteger, nullable=False),
    Column("engine_then", Text, nullable=False),
    Column("engine_now", Text, nullable=False),
    Column("time", Text, nullable=False),
)


@dataclass(frozen=True)
class Wrapped:
    """A payer's data key as it lies here."""

    name: str
    payer: str
    secret: str


@dataclass(frozen=True)
class Replayed:
    """How an answer compared with itself generated again: of `tokens`, the first `matched` were the same."""

    tokens: int
    matched: int
    engine_then: str
    engine_now: str
    time: str


def key_of(connection: Connection, payer: str) -> Wrapped | None:
    """The payer's key; the oldest where several were made at once."""
    t = PAYER_KEY
    row = connection.execute(select(t).where(t.c.payer == payer).order_by(t.c.create_time, t.c.name)).first()
    return None if row is None else Wrapped(row.name, row.payer, row.wrapped)


def key_for(connection: Connection, payer: str, fresh: Wrapped) -> Wrapped:
    """The payer's key; `fresh`, kept from now on, where there is none."""
    found = key_of(connection, payer)
    if found is None:
        connection.execute(insert(PAYER_KEY).values(name=fresh.name, payer=fresh.payer, wrapped=fresh.secret))
    return found or fresh


def keys(connection: Connection, names: Collection[str]) -> Sequence[Wrapped]:
    """The named keys."""
    rows = connection.execute(select(PAYER_KEY).where(PAYER_KEY.c.name.in_(names)))
    return [Wrapped(row.name, row.payer, row.wrapped) for row in rows]


def any_key(connection: Connection) -> Wrapped | None:
    """Some key, if there is one."""
    row = connection.execute(select(PAYER_KEY).limit(1)).first()
    return None if row is None else Wrapped(row.name, row.payer, row.wrapped)


def keep_accounts(connection: Connection, accounts: Sequence[tuple[str, Head]]) -> None:
    """Keep what stays of answers, by their keys in the log."""
    if accounts:
        connection.execute(insert(ANSWERED), [{"key": key, **vars(head)} for key, head in accounts])


def account(connection: Connection, key: str) -> Head | None:
    """What stayed of an answer whose trace went."""
    row = connection.execute(select(ANSWERED).where(ANSWERED.c.key == key)).first()
    return None if row is None else Head(**{name: getattr(row, name) for name in Head.__dataclass_fields__})


def some_answer(connection: Connection, stream: str) -> str | None:
    """The id of some answer that there is or was, if there is one."""
    entries = METADATA.tables["log_entry"]
    kept = connection.execute(select(entries.c.key).where(entries.c.stream == stream).limit(1)).scalar()
    return kept or connection.execute(select(ANSWERED.c.key).limit(1)).scalar()


def acknowledged(connection: Connection, reader: str) -> int:
    """The offset up to which the reader has everything for good."""
    found = connection.execute(select(READER.c.acknowledged).where(READER.c.name == reader)).scalar()
    return int(found or 0)


def acknowledge(connection: Connection, reader: str, offset: int) -> None:
    """The reader has everything up to there; what it said before is never taken back."""
    moved = connection.execute(
        update(READER).where(READER.c.name == reader, READER.c.acknowledged < offset).values(acknowledged=offset)
    )
    if not moved.rowcount and connection.execute(select(READER).where(READER.c.name == reader)).first() is None:
        connection.execute(insert(READER).values(name=reader, acknowledged=offset))


def keep_replay(connection: Connection, key: str, replayed: Replayed) -> None:
    """Keep how an answer compared; what was kept first stays."""
    if replay(connection, key) is None:
        connection.execute(insert(REPLAYED).values(key=key, **vars(replayed)))


def replay(connection: Connection, key: str) -> Replayed | None:
    """How that answer compared, if it was generated again."""
    row = connection.execute(select(REPLAYED).where(REPLAYED.c.key == key)).first()
    return None if row is None else Replayed(row.tokens, row.matched, row.engine_then, row.engine_now, row.time)
