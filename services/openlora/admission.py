"""How much is taken in: places in the queue, turns at the engine, and nothing at all while the disk is full.

Does not know what is waited for, nor who waits: first come, first served.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from services.kit.database import Database
from services.kit.errors import exhausted, from_exception
from services.openlora import store

DISK_FULL = "DISK_FULL"


class Admission:
    """At most `running` at the engine and `queued` before it; whoever comes on top is sent away at once."""

    def __init__(self, running: int, queued: int) -> None:
        self._most, self._turns = running + queued, asyncio.Semaphore(running)
        self._inside = 0
        self.running = 0

    @property
    def queued(self) -> int:
        """Requests that were let in and have no turn yet."""
        return self._inside - self.running

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place from beginning to end.  Raises `Fault` QUEUE_FULL."""
        if self._inside >= self._most:
            text = f"{self._inside} requests are being answered or wait already; try again in a moment"
            raise exhausted("QUEUE_FULL", text, retry_after=2)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn at the engine, for whoever has a place."""
        async with self._turns:
            self.running += 1
            try:
                yield
            finally:
                self.running -= 1


class Space:
    """Whether there is room on disk for what answers leave behind.

    An answer without a trace could be neither charged nor attributed, so from the first write that found no room until
    one finds room again nothing is begun.
    """

    def __init__(self, database: Database) -> None:
        self._database, self.full = database, False

    def check(self) -> None:
        """Raises `Fault` DISK_FULL while there is no room."""
        if self.full:
            text = "the service's disk is full: answers could not be recorded, so none is begun; nothing was charged"
            raise exhausted(DISK_FULL, text, retry_after=30)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around whatever writes: notices when there was no room."""
        try:
            yield
        except Exception as error:
            self.full = self.full or from_exception(error).reason == DISK_FULL
            raise

    async def probe(self) -> None:
        """Find out whether there is room again.  Costs nothing while there is."""
        if not self.full:
            return
        try:
            await self._database.write(store.take_space)
            await self._database.write(store.give_space)
        except Exception as error:
            if from_exception(error).reason != DISK_FULL:
                raise
            return
        self.full = False
