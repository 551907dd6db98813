"""Background work: what follows when a record is erased, however often we die meanwhile.

1. It is put on the list of erased records, which outlives the database, and its key's share is overwritten, so that no
   copy of the database opens it.
2. The database's log is emptied of what was deleted.
3. Those who train models are told, and say which of theirs were made from it.

Each step leaves a mark in the store once it is done, and doing it again does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import Gauge
from sqlalchemy import Connection

from openledger.datanet.v1 import datanet_pb2
from services.datanet import erase, store_erasures
from services.datanet.erased import Erased, ErasedList
from services.datanet.store_erasures import Erasure
from services.datanet.trainers import NotTold, Trainers
from services.datanet.vault import Vault
from services.kit import logs
from services.kit.database import Database
from services.kit.operations import Operations
from services.kit.wait import happens, to_its_end

_FIRST_PAUSE, _AT_ONCE = 0.2, 8


@dataclass(frozen=True)
class Eraser:
    """The steps of one erasure."""

    database: Database
    vault: Vault
    operations: Operations
    trainers: Trainers
    listed: ErasedList

    async def destroy(self, erasure: Erasure) -> None:
        """Steps 1 and 2.  Raises `OSError`."""
        await to_its_end(self._destroy, erasure)
        await self.database.write(lambda c: self._destroyed(c, erasure))

    async def tell(self, erasure: Erasure) -> None:
        """Step 3.  Raises `NotTold`."""
        revisions = await self.trainers.tell(erasure.name, erasure.told)
        await self.database.write(lambda c: self._told(c, erasure, revisions))

    async def wait_for(self, erasure: Erasure, problem: NotTold) -> None:
        """Say for whom it waits."""
        phase = f"waiting for the factory: {problem.reason}"
        await self.database.write(lambda c: self._report(c, erasure, phase))

    def _destroy(self, erasure: Erasure) -> None:
        self.listed.add(Erased(erasure.name, erasure.told, erasure.share))
        self.vault.destroy(erasure.share)
        if not self.database.empty_log():
            raise BlockingIOError("readers keep the database's log from being emptied")

    def _destroyed(self, connection: Connection, erasure: Erasure) -> None:
        store_erasures.destroyed(connection, erasure.record)
        self._report(connection, erasure, erase.TELLING)

    def _told(self, connection: Connection, erasure: Erasure, revisions: list[str]) -> None:
        store_erasures.told(connection, erasure.record, revisions)
        self._report(connection, erasure, erase.DESTROYED)
        erased = datanet_pb2.ErasedRecord(record=erasure.name, adapter_revisions=revisions)
        self.operations.finish(connection, erasure.operation, erased)

    def _report(self, connection: Connection, erasure: Erasure, phase: str) -> None:
        self.operations.report(connection, erasure.operation, erase.progress(erasure.name, phase))


class Erasing:
    """Two loops, so that who is told may be away, or slow, and destroys nothing later.

    `undone`: how many records could not be destroyed yet.  `poll` and `backoff` are seconds: how often to look, and the
    longest pause between tries.
    """

    def __init__(self, eraser: Eraser, undone: Gauge, poll: float, backoff: float) -> None:
        self._eraser, self._undone, self._poll, self._backoff = eraser, undone, poll, backoff
        self._new, self._destroyed = asyncio.Event(), asyncio.Event()
        self._said: dict[str, str] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._log = logs.logger("datanet")

    def wake(self) -> None:
        """There is a new erasure."""
        self._new.set()

    async def run(self) -> None:
        """Endless; the service's server starts it again when it fails."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self._destroy_all, self._new))
            group.create_task(self._again(self._tell_all, self._destroyed))

    async def _again(self, work: Callable[[], Awaitable[bool]], more: asyncio.Event) -> None:
        """`work` says whether all is done."""
        pause = _FIRST_PAUSE
        while True:
            done = await work()
            pause = _FIRST_PAUSE if done else min(self._backoff, pause * 2)
            await happens(more, self._poll if done else pause)
            more.clear()

    async def _destroy_all(self) -> bool:
        pending = await self._eraser.database.read(store_erasures.pending)
        left = [erasure for erasure in pending if not erasure.destroyed and not await self._destroy(erasure)]
        self._undone.set(len(left))
        return not left

    async def _tell_all(self) -> bool:
        pending = await self._eraser.database.read(store_erasures.pending)
        async with asyncio.TaskGroup() as group:
            told = [group.create_task(self._tell(erasure)) for erasure in pending if erasure.destroyed]
        return all(task.result() for task in told)

    async def _destroy(self, erasure: Erasure) -> bool:
        try:
            await self._eraser.destroy(erasure)
        except (OSError, ValueError) as error:
            if self._is_news(erasure, str(error)):
                self._log.warning("not destroyed yet", record=erasure.name, error=str(error))
            return False
        self._said.pop(erasure.record, None)
        self._destroyed.set()
        return True

    async def _tell(self, erasure: Erasure) -> bool:
        try:
            async with self._room:
                await self._eraser.tell(erasure)
        except NotTold as problem:
            if self._is_news(erasure, problem.reason):
                self._log.warning("an erasure is not told of yet", record=erasure.name, error=str(problem))
                await self._eraser.wait_for(erasure, problem)
            return False
        self._said.pop(erasure.record, None)
        self._log.info("erased", record=erasure.name)
        return True

    def _is_news(self, erasure: Erasure, problem: str) -> bool:
        before, self._said[erasure.record] = self._said.get(erasure.record), problem
        return before != problem
