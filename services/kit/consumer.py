"""Reading another service's durable stream so that every entry takes effect exactly once.

The offset is stored in the same transaction as the effects.  A stored epoch that differs from the stream's means that
the log was made anew, a stream that ends before the stored offset that it is an older copy, and offsets that do not
follow one another that entries are missing or out of order: the consumer stops and says so, because going on could skip
or repeat what people are paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, insert, select, update

from services.kit.database import Database

E = TypeVar("E")


@dataclass(frozen=True)
class Page(Generic[E]):
    """What was read from a stream: (offset, entry) pairs in order, and the stream's epoch."""

    entries: Sequence[tuple[int, E]]
    high_watermark: int
    epoch: str


class EpochChanged(RuntimeError):
    """The stream is not the one that was read before.  An operator must decide (docs/operating.md)."""


class OutOfOrder(RuntimeError):
    """The stream's entries do not follow one another: taken as they came, some could be passed over for ever."""


class LostPlace(RuntimeError):
    """Another consumer moved the stored offset: this one must read it again."""


def consumer_table(metadata: MetaData) -> Table:
    """Where each consumed stream stands."""
    return Table(
        "consumer",
        metadata,
        Column("source", Text, primary_key=True),
        Column("epoch", Text, nullable=False),
        Column("number", BigInteger, nullable=False),
    )


class Consumer(Generic[E]):
    """Takes entries from `read` and applies them.

    `read(after) -> Page`; `prepare(entries) -> work` runs outside any transaction (slow work belongs there);
    `apply(connection, work)` makes the effects.  `gather`: while there are more, pages are read until so many entries
    take effect in one transaction, or somewhat more; 0: each page has its own.
    """

    def __init__(
        self,
        database: Database,
        metadata: MetaData,
        source: str,
        read: Callable[[int], Awaitable[Page[E]]],
        prepare: Callable[[Sequence[E]], Awaitable[Any]],
        apply: Callable[[Connection, Any], None],
        *,
        gather: int = 0,
    ) -> None:
        self._database, self._table, self._source = database, metadata.tables["consumer"], source
        self._read, self._prepare, self._apply = read, prepare, apply
        self._most = gather
        self.lag = 0

    async def step(self) -> int:
        """Read what there is, at most so much, and apply it; returns how many entries took effect."""
        place = await self._database.read(self._place)
        after = place[1] if place else 0
        page = await self._next(place[0] if place else None, after)
        entries = [entry for _, entry in page.entries]
        while page.entries and len(entries) < self._most and after + len(entries) < page.high_watermark:
            page = await self._next(page.epoch, after + len(entries))
            entries += [entry for _, entry in page.entries]
        last = after + len(entries)
        if entries:
            work = await self._prepare(entries)

            def transaction(connection: Connection) -> None:
                self._advance(connection, place, page.epoch, last)
                self._apply(connection, work)

            await self._database.write(transaction)
        self.lag = max(0, page.high_watermark - last)
        return len(entries)

    async def _next(self, epoch: str | None, after: int) -> Page[E]:
        """The page after that offset.  Raises `EpochChanged`, `OutOfOrder`."""
        page = await self._read(after)
        if epoch is not None and epoch != page.epoch:
            raise EpochChanged(f"{self._source} has log epoch {page.epoch}, its offsets were of {epoch}")
        if page.high_watermark < after:
            raise EpochChanged(
                f"{self._source} ends at offset {page.high_watermark}, and {after} were read of it: it was replaced by "
                "an older copy, and what it takes in from now on would be passed over"
            )
        offsets = [offset for offset, _ in page.entries]
        if offsets != list(range(after + 1, after + 1 + len(offsets))):
            raise OutOfOrder(
                f"{self._source} gives offsets {offsets[:10]}... where {after + 1} to {after + len(offsets)} come next"
            )
        return page

    async def run(self) -> None:
        """Consume for ever.  Errors are the caller's to count and to retry; nothing is lost by them."""
        while True:
            if not await self.step():
                await asyncio.sleep(0)

    def _place(self, connection: Connection) -> tuple[str, int] | None:
        t = self._table
        row = connection.execute(select(t.c.epoch, t.c.number).where(t.c.source == self._source)).first()
        return None if row is None else (row.epoch, row.number)

    def _advance(self, connection: Connection, place: tuple[str, int] | None, epoch: str, last: int) -> None:
        t = self._table
        if place is None:
            connection.execute(insert(t).values(source=self._source, epoch=epoch, number=last))
            return
        moved = connection.execute(
            update(t)
            .where(t.c.source == self._source, t.c.epoch == place[0], t.c.number == place[1])
            .values(number=last)
        )
        if moved.rowcount != 1:
            raise LostPlace(f"the offset of {self._source} is no longer {place[1]}")
