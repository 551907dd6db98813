"""Background work: every snapshot's files are made and its datanet's log gets its entry, whoever dies meanwhile.

All it knows is in the store: snapshots without a manifest.  Two processes at it at once do no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from openledger.snapshots.files import Row
from services.datanet import publish, store_log, store_snapshots
from services.datanet.model import Snapshot
from services.datanet.publish import Places
from services.kit import logs
from services.kit.database import Database
from services.kit.wait import happens, to_its_end

_AT_ONCE = 500
_PAUSE_AFTER_TROUBLE = 5.0


@dataclass(frozen=True)
class Publisher:
    """Makes one snapshot's files."""

    database: Database
    places: Places

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot in its datanet's log.  Raises `OSError`; `ValueError` where one before is not in it yet."""
        said = publish.described(snapshot, *self.database.read_now(lambda c: store_log.said(c, snapshot)))
        manifest = publish.publish(self.places, said, self._rows(snapshot), lambda: self._is_private(snapshot))
        return self.database.write_now(lambda c: store_log.append(c, snapshot, manifest))

    def _is_private(self, snapshot: Snapshot) -> bool:
        return self.database.read_now(lambda c: store_log.is_private(c, snapshot))

    def _rows(self, snapshot: Snapshot) -> Iterator[Row]:
        for start in range(0, snapshot.record_count, _AT_ONCE):
            batch = self.database.read_now(
                lambda c, at=start: store_snapshots.leaves(c, snapshot, at, _AT_ONCE)  # type: ignore[misc]
            )
            yield from (publish.row(leaf, record) for leaf, record in enumerate(batch, start))


class Publishing:
    """The loop.  `done` is told when there is something new to anchor; `poll`: seconds, how often to look."""

    def __init__(self, publisher: Publisher, done: Callable[[], None], poll: float) -> None:
        self._publisher, self._done, self._poll = publisher, done, poll
        self._new = asyncio.Event()
        self._log = logs.logger("datanet")

    def wake(self) -> None:
        """There is a new snapshot."""
        self._new.set()

    async def run(self) -> None:
        """Endless; the service's server starts it again when it fails."""
        await to_its_end(self._publisher.places.prepare)
        while True:
            pending = await self._publisher.database.read(store_log.unpublished)
            behind: set[str] = set()
            for snapshot in pending:
                if snapshot.datanet not in behind and not await self._try(snapshot):
                    behind.add(snapshot.datanet)
            await happens(self._new, _PAUSE_AFTER_TROUBLE if behind else self._poll)
            self._new.clear()

    async def _try(self, snapshot: Snapshot) -> bool:
        try:
            made = await to_its_end(self._publisher.publish, snapshot)
        except (OSError, ValueError) as error:
            self._log.warning("not published yet", snapshot=snapshot.name, error=str(error))
            return False
        self._log.info("published", snapshot=made.name, manifest=made.manifest)
        self._done()
        return True
