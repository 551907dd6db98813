"""Which adapters an engine holds: each comes in by a task of its own, and goes when nobody uses it.

An adapter that is there waits for no other one. What comes in is prepared beside the engine's loop; only then adapters
take room, one after the other, and the one that was not used for longest makes it. What it does not know: how an engine
reads, takes and drops an adapter.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from services.openlora.engine import AdapterRef, EngineDead


class Holder(Protocol):
    """What holds adapters, each under a number that is used once."""

    async def prepare(self, adapter: AdapterRef, number: int) -> None:
        """Read and check an adapter, without taking room.  Raises `AdapterRejected` or `EngineDead`."""

    async def take(self, number: int) -> None:
        """Hold what was prepared.  There is room.  Raises `AdapterRejected` or `EngineDead`."""

    async def drop(self, number: int) -> None:
        """Give up what is held.  Raises `EngineDead`."""


@dataclass(eq=False)
class _Resident:
    number: int
    ready: asyncio.Task[None]
    users: int = 0
    """Answers that use it or wait for it."""


class Residents:
    """The adapters of one engine, by digest; at most `most` of them are held."""

    def __init__(self, holder: Holder, most: int) -> None:
        self._holder, self._most = holder, most
        self._known: dict[str, _Resident] = {}
        """Held or coming, least recently used first."""
        self._held: set[str] = set()
        self._taking = asyncio.Lock()
        self._idle = asyncio.Event()
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def using(self, adapter: AdapterRef) -> AsyncIterator[int]:
        """Within: the adapter is held, under this number.

        Raises:
            AdapterRejected: it cannot be used; says why.
            EngineDead: the engine is closed or dead.
        """
        resident = self._find(adapter)
        resident.users += 1
        try:
            await self._come(resident)
            yield resident.number
        finally:
            resident.users -= 1
            self._idle.set()

    async def unload(self, digest: str) -> None:
        """Let go of an adapter that nobody uses; one in use, coming or unknown is left alone."""
        if digest in self._held and not self._known[digest].users:
            await self._put_out(digest)

    def digests(self) -> frozenset[str]:
        """What is held."""
        return frozenset(self._held)

    async def close(self) -> None:
        """Break off what is coming: whoever waits for it hears that the engine is closed."""
        coming = [resident.ready for resident in self._known.values() if not resident.ready.done()]
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)

    def _find(self, adapter: AdapterRef) -> _Resident:
        """The adapter's entry, most recently used; a new one comes in by its own task, whoever leaves meanwhile."""
        resident = self._known.pop(adapter.digest, None)
        if resident is None:
            number = next(self._numbers)
            ready = asyncio.create_task(self._bring(adapter, number))
            ready.add_done_callback(lambda task: task.cancelled() or task.exception())  # seen, if nobody waits any more
            resident = _Resident(number, ready)
        self._known[adapter.digest] = resident
        return resident

    async def _come(self, resident: _Resident) -> None:
        try:
            await asyncio.shield(resident.ready)
        except asyncio.CancelledError:
            if resident.ready.cancelled():
                raise EngineDead("the engine is closed") from None
            raise

    async def _bring(self, adapter: AdapterRef, number: int) -> None:
        try:
            await self._holder.prepare(adapter, number)
            async with self._taking:
                await self._make_room()
                await self._holder.take(number)
                self._held.add(adapter.digest)
        except BaseException:
            del self._known[adapter.digest]
            raise

    async def _make_room(self) -> None:
        """Put out the adapter that was not used for longest; wait while all of them are in use."""
        while len(self._held) >= self._most:
            self._idle.clear()
            idle = next(
                (digest for digest in self._known if digest in self._held and not self._known[digest].users), ""
            )
            if idle:
                await self._put_out(idle)
            else:
                await self._idle.wait()

    async def _put_out(self, digest: str) -> None:
        self._held.discard(digest)
        await self._holder.drop(self._known.pop(digest).number)
        self._idle.set()
