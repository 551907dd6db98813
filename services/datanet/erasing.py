"""Background work: what follows when a record is erased, however often we die meanwhile.

1. Its key's share is overwritten, so that no copy of the database opens it.
2. The database's log is emptied of what was deleted.
3. Those who train models are told, and say which of theirs were made from it.

Each step leaves a mark in the store once it is done, and doing it again does no harm.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from openledger.datanet.v1 import datanet_pb2
from services.datanet import erase, store_erasures
from services.datanet.store_erasures import Erasure
from services.datanet.trainers import NotTold, Trainers
from services.datanet.vault import Vault
from services.kit import logs
from services.kit.database import Database
from services.kit.operations import Operations
from services.kit.wait import happens, to_its_end

_FIRST_PAUSE = 0.2


@dataclass(frozen=True)
class Eraser:
    """The steps of one erasure."""

    database: Database
    vault: Vault
    operations: Operations
    trainers: Trainers

    async def destroy(self, erasure: Erasure) -> Erasure:
        """Steps 1 and 2, unless they are done.  Raises `OSError`."""
        if erasure.destroyed:
            return erasure
        await to_its_end(self._destroy, erasure)
        await self.database.write(lambda c: self._destroyed(c, erasure))
        return replace(erasure, destroyed=True)

    async def tell(self, erasure: Erasure) -> None:
        """Step 3.  Raises `NotTold`."""
        revisions = await self.trainers.tell(erasure.name, erasure.reason)
        await self.database.write(lambda c: self._told(c, erasure, revisions))

    async def wait_for(self, erasure: Erasure, problem: NotTold) -> None:
        """Say for whom it waits."""
        phase = f"waiting for the factory: {problem.reason}"
        await self.database.write(lambda c: self._report(c, erasure, phase))

    def _destroy(self, erasure: Erasure) -> None:
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
    """The loop.  `poll` and `backoff` are seconds: how often to look, and the longest pause between tries."""

    def __init__(self, eraser: Eraser, poll: float, backoff: float) -> None:
        self._eraser, self._poll, self._backoff = eraser, poll, backoff
        self._new = asyncio.Event()
        self._said: dict[str, str] = {}
        self._log = logs.logger("datanet")

    def wake(self) -> None:
        """There is a new erasure."""
        self._new.set()

    async def run(self) -> None:
        """Endless; the service's server starts it again when it fails."""
        pause = _FIRST_PAUSE
        while True:
            pending = await self._eraser.database.read(store_erasures.pending)
            # All are destroyed before anybody is told of any: who is told may be away for long.
            ready = [erasure for erasure in [await self._destroy(one) for one in pending] if erasure is not None]
            told = [await self._tell(erasure) for erasure in ready]
            done = len(ready) == len(pending) and all(told)
            pause = _FIRST_PAUSE if done else min(self._backoff, pause * 2)
            await happens(self._new, self._poll if done else pause)
            self._new.clear()

    async def _destroy(self, erasure: Erasure) -> Erasure | None:
        try:
            return await self._eraser.destroy(erasure)
        except OSError as error:
            self._log.warning("not destroyed yet", record=erasure.name, problem=str(error))
            return None

    async def _tell(self, erasure: Erasure) -> bool:
        try:
            await self._eraser.tell(erasure)
        except NotTold as problem:
            if self._said.get(erasure.record) != problem.reason:
                self._log.warning("an erasure is not told of yet", record=erasure.name, problem=str(problem))
                await self._eraser.wait_for(erasure, problem)
                self._said[erasure.record] = problem.reason
            return False
        self._said.pop(erasure.record, None)
        self._log.info("erased", record=erasure.name)
        return True
