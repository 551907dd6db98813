"""The records of a run: its snapshots read, checked, put together and kept, each record once.

A fine-tune reads them anew when it starts, since what was erased meanwhile must not be trained on; an estimate may use
what was read before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openledger.artifacts import ArtifactError, ArtifactStore
from services.factory import store_snapshots
from services.factory.merge import merge
from services.factory.model import FineTune, JobFailed
from services.factory.read import erased, read_snapshot
from services.factory.replay import Replay, ReplayError
from services.factory.run import SnapshotPin
from services.factory.source import SnapshotSource
from services.factory.store_snapshots import Kept
from services.kit.database import Database


@dataclass(frozen=True)
class Gathered:
    """The records of several snapshots."""

    digest: str
    """Of one file of them, in the Factory's own store."""
    licences: Mapping[str, Mapping[str, int]]
    """By snapshot: its records by licence; "" is the snapshot's own."""


@dataclass(frozen=True)
class Gatherer:
    """Where records come from and where they are kept."""

    database: Database
    source: SnapshotSource
    kept: ArtifactStore

    async def gather(self, pins: Sequence[SnapshotPin], patience: float, *, anew: bool) -> Gathered:
        """patience: seconds a snapshot.  anew: read them even if they were read before.

        Raises `JobFailed`, see `read_snapshot` and `merge`; `OSError`.
        """
        return await self._put_together({pin: await self._one(pin, patience, anew=anew) for pin in pins})

    async def of(self, job: FineTune, patience: float) -> Gathered:
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
        found = {pin: await read_snapshot(self.source, pin, self.kept, patience, only) for pin in job.snapshots}
        return await self._put_together({pin: Kept(r.digest, r.licences) for pin, r in found.items()}, job.id)

    async def _put_together(self, found: Mapping[SnapshotPin, Kept], fine_tune: str = "") -> Gathered:
        pins = list(found)
        if record := await self.database.read(lambda c: store_snapshots.erased_among(c, pins, fine_tune)):
            raise erased(record, " and ".join(pin.name for pin in pins))
        try:
            digest = await asyncio.to_thread(merge, self.kept, [kept.digest for kept in found.values()])
        except ArtifactError as error:  # erased by another call at this very moment
            raise JobFailed("DATANET_UNAVAILABLE", f"the records were removed while they were read: {error}") from error
        return Gathered(digest, {pin.name: kept.licences for pin, kept in found.items()})

    async def _one(self, pin: SnapshotPin, patience: float, *, anew: bool) -> Kept:
        if not anew:
            known = await self.database.read(lambda c: store_snapshots.find_snapshot(c, pin))
            if known is not None and self.kept.has(known.digest):
                return known
        read = await read_snapshot(self.source, pin, self.kept, patience)
        kept = Kept(read.digest, read.licences)
        await self.database.write(lambda c: store_snapshots.put_snapshot(c, pin, kept, read.names))
        return kept
