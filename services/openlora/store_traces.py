"""OpenLoRA's tables beside the log of traces: payers' keys, accounts of answers whose traces went, its reader's place.

A data key is there in wrapped form alone.  Of an answer whose trace went, its account stays for ever: the request id
must not be answered and charged anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, Table, Text, insert, select, update

from services.kit.database import Amount
from services.kit.payer_keys import payer_key_table
from services.openlora.sealing import Head
from services.openlora.store import METADATA

PAYER_KEY = payer_key_table(METADATA)
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
class Replayed:
    """How an answer compared with itself generated again: of `tokens`, the first `matched` were the same."""

    tokens: int
    matched: int
    engine_then: str
    engine_now: str
    time: str


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
