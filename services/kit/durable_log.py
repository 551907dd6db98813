"""A durable stream: single writer, offsets without gaps, group commit, a high watermark and a log epoch.

It lives in the service's own database, so an entry can be appended in the same transaction as the state it tells of,
and a reader that stores its offset with its effects sees every entry exactly once.  Offsets start at 1.  Entries that
nobody needs are removed from the beginning; whoever asks for them is told so, and never given later ones instead.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import grpc
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from services.kit.database import Database
from services.kit.errors import Fault
from services.kit.wait import happens

_POLL_SECONDS = 0.25
_MAX_BATCH = 256
MOST_BYTES = 4 * 2**20
"""Of payload that is read at once, unless somebody asks for more or less."""


@dataclass(frozen=True)
class Entry:
    """One entry.  `key` is unique in its stream: appending it again gives the old offset."""

    offset: int
    key: str
    payload: bytes


@dataclass(frozen=True)
class Batch:
    """Entries in order, and where the log stands."""

    entries: tuple[Entry, ...]
    high_watermark: int
    epoch: str


def log_tables(metadata: MetaData) -> tuple[Table, Table]:
    """The two tables of the streams of one database: the entries, and where each stream stands."""
    entries = Table(
        "log_entry",
        metadata,
        Column("stream", Text, primary_key=True),
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("key", Text, nullable=False, index=True),
        Column("payload", LargeBinary, nullable=False),
    )
    heads = Table(
        "log_head",
        metadata,
        Column("stream", Text, primary_key=True),
        Column("epoch", Text, nullable=False),
        Column("number", BigInteger, nullable=False),
    )
    return entries, heads


def fitting(sizes: Iterable[tuple[int, int]], most_bytes: int) -> list[int]:
    """Of (number, bytes) the first numbers whose bytes together are not too many, and at least one."""
    numbers: list[int] = []
    for number, size in sizes:
        most_bytes -= size
        if numbers and most_bytes < 0:
            break
        numbers.append(number)
    return numbers


class DurableLog:
    """One stream of a database."""

    def __init__(self, database: Database, metadata: MetaData, stream: str) -> None:
        self._database, self.stream = database, stream
        self._entries, self._heads = metadata.tables["log_entry"], metadata.tables["log_head"]
        self._grown = asyncio.Event()
        self._queue: list[tuple[str, bytes, asyncio.Future[int]]] = []
        self._flusher: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Give the stream an epoch if it has none.  Call once after migration."""

        def make(connection: Connection) -> None:
            if (
                connection.execute(select(self._heads.c.stream).where(self._heads.c.stream == self.stream)).first()
                is None
            ):
                connection.execute(insert(self._heads).values(stream=self.stream, epoch=uuid.uuid4().hex, number=0))

        self._database.write_now(make)

    def append_in(self, connection: Connection, entries: Sequence[tuple[str, bytes]]) -> list[int]:
        """Append (key, payload) pairs inside the caller's transaction; returns their offsets.

        The head's row is locked first: offsets become visible in the order in which they were given.
        Call `wake` after the transaction.
        """
        heads, table = self._heads, self._entries
        # The update takes the row's lock before anything is read under it.
        connection.execute(update(heads).where(heads.c.stream == self.stream).values(number=heads.c.number))
        head = connection.execute(select(heads.c.number).where(heads.c.stream == self.stream)).scalar_one()
        keys = [key for key, _ in entries]
        found = connection.execute(
            select(table.c.key, table.c.number).where(table.c.stream == self.stream, table.c.key.in_(keys))
        )
        offsets: dict[str, int] = {row.key: row.number for row in found}
        fresh = []
        for key, payload in entries:
            if key not in offsets:
                head += 1
                offsets[key] = head
                fresh.append({"stream": self.stream, "number": head, "key": key, "payload": payload})
        if fresh:
            connection.execute(insert(table), fresh)
            connection.execute(update(heads).where(heads.c.stream == self.stream).values(number=head))
        return [offsets[key] for key in keys]

    def wake(self) -> None:
        """Tell waiting readers that there may be more."""
        self._grown.set()
        self._grown = asyncio.Event()

    async def compact(self, through: int, also: Callable[[Connection], None] = lambda _: None) -> None:
        """Remove the entries up to that offset for ever; `also` keeps what must stay of them, in the same transaction.

        A removed key is no longer known: that it is not appended anew is for the caller to see to.
        """
        table = self._entries

        def transaction(connection: Connection) -> None:
            also(connection)
            connection.execute(delete(table).where(table.c.stream == self.stream, table.c.number <= through))

        await self._database.write(transaction)

    async def first(self) -> int:
        """The offset of the first entry that is there; one after the last where there is none."""
        table, heads = self._entries, self._heads

        def find(connection: Connection) -> int:
            head = connection.execute(select(heads.c.number).where(heads.c.stream == self.stream)).scalar_one()
            least = select(func.min(table.c.number)).where(table.c.stream == self.stream)
            return int(connection.execute(least).scalar_one() or head + 1)

        return await self._database.read(find)

    async def append(self, key: str, payload: bytes) -> int:
        """Append one entry; it is on disk when this returns its offset.  Callers at once share one commit."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((key, payload, future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        # Shielded: the entry is written whether or not its caller still waits.
        return await asyncio.shield(future)

    async def _flush(self) -> None:
        while self._queue:
            batch, self._queue = self._queue[:_MAX_BATCH], self._queue[_MAX_BATCH:]
            entries = [(key, payload) for key, payload, _ in batch]
            try:
                offsets = await self._database.write(lambda c, e=entries: self.append_in(c, e))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - whatever it was, every caller of this batch must hear of it
                for _, _, future in batch:
                    future.set_exception(error)
                    future.exception()  # seen: a caller that went away must not leave a warning behind
                continue
            for (_, _, future), offset in zip(batch, offsets, strict=True):
                future.set_result(offset)
            self.wake()

    async def read(self, after: int, limit: int = 100, wait: float = 0, most_bytes: int = MOST_BYTES) -> Batch:
        """Entries after an offset, at most `limit` and `most_bytes` of payload, and one however large it is.

        Waits up to `wait` seconds for the first one.  Raises `Fault` OFFSET_COMPACTED where the next ones were removed.
        """
        deadline = time.monotonic() + wait
        while True:
            grown = self._grown
            batch = await self._database.read(lambda c: self._read(c, after, limit, most_bytes))
            left = deadline - time.monotonic()
            if batch.entries or left <= 0:
                return batch
            # Another process may be the writer, so look again now and then without being told.
            await happens(grown, min(left, _POLL_SECONDS))

    def _read(self, connection: Connection, after: int, limit: int, most_bytes: int) -> Batch:
        table, heads = self._entries, self._heads
        head = connection.execute(select(heads.c.number, heads.c.epoch).where(heads.c.stream == self.stream)).one()
        those = table.c.stream == self.stream, table.c.number > after, table.c.number <= head.number
        # Sizes first: what does not fit is not loaded either.
        sizes = select(table.c.number, func.length(table.c.payload)).where(*those).order_by(table.c.number).limit(limit)
        numbers = fitting(((number, size) for number, size in connection.execute(sizes)), most_bytes)
        rows = connection.execute(
            select(table.c.number, table.c.key, table.c.payload)
            .where(*those, table.c.number <= max(numbers, default=after))
            .order_by(table.c.number)
        )
        entries = tuple(Entry(row.number, row.key, row.payload) for row in rows)
        # Offsets have no gaps, so one here says that entries were removed, also where that happened this very moment.
        if limit and after < head.number and (not entries or entries[0].offset != after + 1):
            raise _compacted(self.stream, after)
        return Batch(entries, head.number, head.epoch)

    async def get(self, key: str) -> Entry | None:
        """The entry with that key."""
        table = self._entries
        query = select(table.c.number, table.c.key, table.c.payload).where(
            table.c.stream == self.stream, table.c.key == key
        )
        row = await self._database.read(lambda c: c.execute(query).first())
        return None if row is None else Entry(row.number, row.key, row.payload)


def _compacted(stream: str, after: int) -> Fault:
    text = (
        f"the entries of {stream} after offset {after} were removed: whoever reads had said that it has them, and they "
        "were old. What was lost since is not in this log any more"
    )
    return Fault(grpc.StatusCode.OUT_OF_RANGE, "OFFSET_COMPACTED", text, metadata={"after_offset": str(after)})
