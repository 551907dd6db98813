"""The records of a run: its snapshots read, checked, put together and kept, each record once.

A fine-tune reads them anew when it starts, since what was erased meanwhile must not be trained on; an estimate may use
what was read before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from openledger.artifacts import ArtifactError, ArtifactStore
from services.factory import store_snapshots
from services.factory.erase import remove_texts
from services.factory.merge import MERGING, merge
from services.factory.model import FineTune, JobFailed
from services.factory.read import READING, erased, read_snapshot
from services.factory.replay import Replay, ReplayError
from services.factory.run import SnapshotPin
from services.factory.source import SnapshotSource
from services.kit.database import Database
from services.kit.wait import to_its_end


@dataclass(frozen=True)
class Gatherer:
    """Where records come from and where they are kept."""

    database: Database
    source: SnapshotSource
    kept: ArtifactStore

    async def gather(self, pins: Sequence[SnapshotPin], patience: float, *, anew: bool) -> str:
        """The digest of one file of them, in the Factory's own store.

        patience: seconds a snapshot.  anew: read them even if they were read before.

        Raises `JobFailed`, see `read_snapshot` and `merge`; `OSError`.
        """
        return await self._put_together(pins, [await self._one(pin, patience, anew=anew) for pin in pins])

    async def of(self, job: FineTune, patience: float) -> str:
        """A fine-tune's, read anew; of a run that is taken again those that are left, whether others are erased or not.

        Raises as `gather` does, and `JobFailed` CANNOT_REPLACE.
        """
        if job.replaces is None:
            return await self.gather(job.snapshots, patience, anew=True)
        try:
            training = await asyncio.to_thread(self.kept.get, job.replaces.training)
            only = Replay.of(training, job.replaces.without).records
        except (ArtifactError, ReplayError) as error:
            raise JobFailed("CANNOT_REPLACE", f"{job.replaces.revision}: {error}") from error
        found = [await read_snapshot(self.source, pin, self.kept, patience, only) for pin in job.snapshots]
        return await self._put_together(job.snapshots, [read.digest for read in found], job.id)

    async def _put_together(self, pins: Sequence[SnapshotPin], digests: Sequence[str], fine_tune: str = "") -> str:
        await self._refuse_erased(pins, fine_tune)
        try:
            digest = await to_its_end(merge, self.kept, digests)
        except ArtifactError as error:  # erased by another call at this very moment
            raise JobFailed("DATANET_UNAVAILABLE", f"the records were removed while they were read: {error}") from error
        await self._refuse_erased(pins, fine_tune)
        return digest

    async def _refuse_erased(self, pins: Sequence[SnapshotPin], fine_tune: str) -> None:
        """Raises `JobFailed` RECORD_ERASED."""
        if record := await self.remove_erased(pins, fine_tune):
            raise erased(record, " and ".join(pin.name for pin in pins))

    async def remove_erased(self, pins: Sequence[SnapshotPin], fine_tune: str = "") -> str | None:
        """Remove the texts of these snapshots' erased records, and name one of them, if there is one.

        Whoever erased it looked for its text, but may have looked before it was written here.
        """
        found = await self.database.read(lambda c: store_snapshots.all_erased_among(c, pins, fine_tune))
        for record in found:
            await self.database.write(lambda c, r=record: _forget(c, r))  # type: ignore[misc]
            await asyncio.to_thread(remove_texts, self.kept, record)
        return next(iter(found), None)

    def sweep(self) -> None:
        """Remove what readers that were killed have left of texts.  Only while nobody reads."""
        self.kept.sweep()
        for left in (*self.kept.root.glob(f"{READING}*"), *self.kept.root.glob(f"{MERGING}*")):
            left.unlink(missing_ok=True)

    async def _one(self, pin: SnapshotPin, patience: float, *, anew: bool) -> str:
        if not anew:
            known = await self.database.read(lambda c: store_snapshots.find_snapshot(c, pin))
            if known is not None and self.kept.use(known):
                return known
        read = await read_snapshot(self.source, pin, self.kept, patience)
        await self.database.write(lambda c: store_snapshots.put_snapshot(c, pin, read.digest, read.names))
        return read.digest


def _forget(c: Connection, record: str) -> None:
    store_snapshots.forget_snapshots(c, store_snapshots.snapshots_with(c, record))
