"""How much is taken in: places in the queue, turns at the engine, and nothing at all while the disk is full.

Does not know what is waited for, nor who waits: first come, first served.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from services.kit.database import Database
from services.kit.errors import exhausted, from_exception
from services.openlora import store
from services.openlora.adapters import Hold

DISK_FULL = "DISK_FULL"


@dataclass(frozen=True)
class Ask:
    """What somebody wants of the engine: `tenant` pays, and may get `max_tokens` on top of `tokens_in`."""

    tenant: str
    model: str
    tokens_in: int
    max_tokens: int


class Place:
    """A request that was let in, from beginning to end."""

    def __init__(self, admission: Admission) -> None:
        self._admission, self.tokens_out = admission, 0

    @asynccontextmanager
    async def turn(self, hold: Hold) -> AsyncIterator[None]:
        """A turn at the engine with an adapter that is ready.  Raises what kept the adapter from it."""
        await hold.ref()
        async with self._admission.turn():
            yield

    def made(self, tokens: int) -> None:
        """So many tokens more were generated."""
        self.tokens_out += tokens


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
    def enter(self, ask: Ask) -> Iterator[Place]:
        """A place from beginning to end.  Raises `Fault` QUEUE_FULL."""
        if self._inside >= self._most:
            text = f"{self._inside} requests are being answered or wait already; try again in a moment"
            raise exhausted("QUEUE_FULL", text, retry_after=2)
        self._inside += 1
        try:
            yield Place(self)
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn at the engine, for whoever has a place and its adapter."""
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
