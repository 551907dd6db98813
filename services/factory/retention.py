"""What nobody needs any more is removed, so that the disk does not fill for ever: workers' outputs, and kept records.

An output is needed while its fine-tune has not ended, and for so many days after: until then it can be published, and
the same work is found and not done again.  What is published stays, among the artifacts.  Kept records are needed by
fine-tunes that have not ended; snapshots that were read are kept for as many days after their last use, since an
estimate may want them.  Called between two fine-tunes, when no work is in hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from openledger.artifacts import ArtifactStore
from services.factory import store, store_snapshots
from services.factory.model import FineTune
from services.kit import logs
from services.kit.database import Database
from services.kit.executor import Executor, Shard

EVERY = 3600.0
"""Seconds between two sweeps."""
_BEING_WRITTEN = 3600.0
"""Seconds that a file may be there before its snapshot is: whoever reads one says so at the end."""


class Retention:
    """Of one Factory."""

    def __init__(
        self, database: Database, executor: Executor, kept: ArtifactStore, days: float, run: Callable[[FineTune], Shard]
    ) -> None:
        """run: the shard of a fine-tune."""
        self._database, self._executor, self._kept, self._run = database, executor, kept, run
        self._seconds, self._next = days * 86_400, 0.0
        self._log = logs.logger("factory")

    async def sweep(self) -> None:
        """Remove what is not needed, unless that was done within the hour.  Trouble with files is logged."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        before = time.time() - self._seconds
        try:
            await self._outputs(before)
            await self._records(before)
        except OSError as error:
            self._log.warning("what is not needed any more cannot be removed", error=str(error))

    async def _outputs(self, before: float) -> None:
        moment = datetime.fromtimestamp(before, UTC)
        going_on = {self._run(job).digest() for job in await self._database.read(store.unfinished)}
        fresh = await self._database.read(lambda c: store.outputs_of_ended(c, since=moment))
        await self._executor.expire(before, going_on | {Path(output).name for _, output in fresh})
        old = await self._database.read(lambda c: store.outputs_of_ended(c, before=moment))
        if gone := await asyncio.to_thread(_gone, old):
            await self._database.write(lambda c: store.forget_outputs(c, gone))

    async def _records(self, before: float) -> None:
        snapshots, wanted = await self._database.read(_wanted)
        removed = await asyncio.to_thread(self._remove, before, snapshots, wanted)
        if removed:
            await self._database.write(lambda c: store_snapshots.forget_files(c, removed))

    def _remove(self, before: float, snapshots: Collection[str], wanted: Collection[str]) -> list[str]:
        """Digests of the files that were removed.  snapshots: of those that were read; wanted: of unfinished work."""
        removed = []
        for file in (self._kept.root / "sha256").glob("*/[0-9a-f]*"):
            limit = before if file.name in snapshots else time.time() - _BEING_WRITTEN
            with contextlib.suppress(FileNotFoundError):  # removed by an erasure at this very moment
                if file.name not in wanted and file.stat().st_mtime < limit:
                    file.unlink()
                    removed.append(file.name)
        return removed


def _gone(outputs: Iterable[tuple[str, str]]) -> set[str]:
    return {id_ for id_, output in outputs if not Path(output).exists()}


def _wanted(c: Connection) -> tuple[set[str], set[str]]:
    jobs = store.unfinished(c)
    replayed = {job.replaces.training for job in jobs if job.replaces is not None}
    return store_snapshots.files(c), {job.records for job in jobs} | replayed
