"""Attribution's tables: the log of receipts, who paid for which, traces that got none, and where reading stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    func,
    insert,
    select,
)

from services.kit.consumer import consumer_table
from services.kit.durable_log import DurableLog, fitting, log_tables

STREAM = "receipts"
MAX_MESSAGE = 1000

METADATA = MetaData()
ENTRY, _ = log_tables(METADATA)
consumer_table(METADATA)
RECEIPT = Table(
    "receipt",
    METADATA,
    Column("response", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("payer", Text, nullable=False),
    Column("trace_sha256", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Index("ix_receipt_payer", "payer", "number"),
)
_ITS_ENTRY = (ENTRY.c.stream == STREAM) & (ENTRY.c.number == RECEIPT.c.number)
DEAD_LETTER = Table(
    "dead_letter",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("payer", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("trace_sha256", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True)
class Issued:
    """A signed receipt for the log.

    `response`: responses/{response}.  `payer`: accounts/{address}.  `end_time`: of the answer, as traces write it.
    """

    response: str
    payer: str
    trace_sha256: str
    document: bytes
    end_time: str


@dataclass(frozen=True)
class Refused:
    """A trace that gets no receipt.  `key` is the response's id, or says where a trace without a usable name stood."""

    key: str
    payer: str
    reason: str
    message: str
    trace_sha256: str


@dataclass(frozen=True)
class StoredReceipt:
    """A receipt at its place in the log."""

    offset: int
    document: bytes
    create_time: datetime


@dataclass(frozen=True)
class DeadLetter:
    """A refused trace, as it is kept."""

    number: int
    refused: Refused
    create_time: datetime


def commit(connection: Connection, log: DurableLog, outcomes: Sequence[Issued | Refused], now: datetime) -> None:
    """Append receipts to the log and keep dead letters, each once: what is there already stays as it is."""
    issued = {o.response: o for o in outcomes if isinstance(o, Issued)}
    present = _present(connection, RECEIPT.c.response, issued)
    fresh = [o for response, o in issued.items() if response not in present]
    offsets = log.append_in(connection, [(o.response, o.document) for o in fresh]) if fresh else []
    for o, offset in zip(fresh, offsets, strict=True):
        connection.execute(
            insert(RECEIPT).values(
                response=o.response, number=offset, payer=o.payer, trace_sha256=o.trace_sha256, create_time=now
            )
        )
    refused: dict[str, Refused] = {}
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            refused.setdefault(outcome.key, outcome)
    present = _present(connection, DEAD_LETTER.c.key, refused)
    for key in refused.keys() - present:
        # A message may quote anything: it is cut short, and NUL taken out, which PostgreSQL would refuse for ever.
        message = refused[key].message.replace("\0", "")[:MAX_MESSAGE]
        values = vars(refused[key]) | {"message": message}
        connection.execute(insert(DEAD_LETTER).values(**values, create_time=now))


def traces_of(connection: Connection, responses: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the trace by which each response was settled, by receipt or dead letter; the others are left out."""
    wanted = list(responses)
    receipts = select(RECEIPT.c.response, RECEIPT.c.trace_sha256).where(RECEIPT.c.response.in_(wanted))
    keys = [response.removeprefix("responses/") for response in wanted]
    letters = select(DEAD_LETTER.c.key, DEAD_LETTER.c.trace_sha256).where(DEAD_LETTER.c.key.in_(keys))
    found = {f"responses/{row.key}": str(row.trace_sha256) for row in connection.execute(letters)}
    return found | {row.response: str(row.trace_sha256) for row in connection.execute(receipts)}


def receipt(connection: Connection, response: str) -> StoredReceipt | None:
    """The receipt of a response."""
    row = connection.execute(_receipts().where(RECEIPT.c.response == response)).first()
    return None if row is None else _stored(row)


def receipts_of(
    connection: Connection, payer: str, before: int | None, limit: int, most_bytes: int
) -> tuple[list[StoredReceipt], bool]:
    """A payer's receipts, newest first, older than the offset `before`; and whether there are more.

    At most `limit` and `most_bytes` of documents, and one however large it is.
    """
    own = RECEIPT.c.payer == payer if before is None else (RECEIPT.c.payer == payer) & (RECEIPT.c.number < before)
    newest = RECEIPT.c.number.desc()
    sizes = select(RECEIPT.c.number, func.length(ENTRY.c.payload)).join(ENTRY, _ITS_ENTRY).where(own)
    found = [(number, size) for number, size in connection.execute(sizes.order_by(newest).limit(limit + 1))]
    numbers = fitting(found[:limit], most_bytes)
    rows = connection.execute(_receipts().where(RECEIPT.c.number.in_(numbers)).order_by(newest))
    return [_stored(row) for row in rows], len(numbers) < len(found)


def times(connection: Connection, offsets: Sequence[int]) -> dict[int, datetime]:
    """When the receipts at these offsets were made."""
    query = select(RECEIPT.c.number, RECEIPT.c.create_time).where(RECEIPT.c.number.in_(offsets))
    return {row.number: _utc(row.create_time) for row in connection.execute(query)}


def dead_letter(connection: Connection, key: str) -> DeadLetter | None:
    """The dead letter with that key."""
    row = connection.execute(select(DEAD_LETTER).where(DEAD_LETTER.c.key == key)).first()
    return None if row is None else _letter(row)


def dead_letters(connection: Connection, before: int | None, limit: int) -> list[DeadLetter]:
    """Dead letters, newest first, older than number `before`."""
    query = select(DEAD_LETTER).order_by(DEAD_LETTER.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(DEAD_LETTER.c.number < before)
    return [_letter(row) for row in connection.execute(query)]


def _present(connection: Connection, column: Column[Any], keys: Iterable[str]) -> set[str]:
    return set(connection.execute(select(column).where(column.in_(list(keys)))).scalars())


def _receipts() -> Select[Any]:
    """Receipts with their documents, which are kept once: in the log."""
    return select(RECEIPT.c.number, RECEIPT.c.create_time, ENTRY.c.payload).join(ENTRY, _ITS_ENTRY)


def _stored(row: Row[Any]) -> StoredReceipt:
    return StoredReceipt(row.number, row.payload, _utc(row.create_time))


def _letter(row: Row[Any]) -> DeadLetter:
    refused = Refused(row.key, row.payer, row.reason, row.message, row.trace_sha256)
    return DeadLetter(row.number, refused, _utc(row.create_time))


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # SQLite keeps no zone; what was written is UTC
