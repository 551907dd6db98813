"""Background work: every snapshot's files are made and its datanet's log gets its entry, whoever dies meanwhile.

All it knows is in the store: snapshots without a manifest.  Two processes at it at once do no harm.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from openledger import clusters
from openledger.snapshots.files import Row
from services.datanet import publish, store_log, store_records, store_snapshots
from services.datanet.model import Content, Record, Snapshot
from services.datanet.publish import Places
from services.datanet.vault import Vault
from services.kit import logs
from services.kit.database import Database
from services.kit.wait import happens, to_its_end

_AT_ONCE, _SALT_BYTES = 500, 32
_PAUSE_AFTER_TROUBLE = 5.0


@dataclass(frozen=True)
class Publisher:
    """Makes one snapshot's files.  `most_compared`: records of a snapshot among which likeness is looked for.

    What is compared stays in memory, some 30 kB a record of 40 words.
    """

    database: Database
    vault: Vault
    places: Places
    most_compared: int

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot in its datanet's log.  Raises `OSError`; `ValueError` where one before is not in it yet."""
        while True:
            digest, firsts = self._make(snapshot)
            try:
                return self.database.write_now(lambda c: store_log.append(c, snapshot, digest, firsts))  # noqa: B023
            except store_log.Stale:
                publish.remove_clusters(self.places, digest)

    def _make(self, snapshot: Snapshot) -> tuple[str, dict[int, int]]:
        definition, owner = self.database.read_now(lambda c: store_log.said(c, snapshot))
        firsts = self._firsts(snapshot) if snapshot.record_count <= self.most_compared else None
        salt = secrets.token_bytes(_SALT_BYTES)  # in the file alone: once that is gone, its SHA-256 confirms nothing
        digest = publish.publish(self.places, snapshot, definition, owner, self._rows(snapshot), firsts, salt)
        return digest, firsts or {}

    def _firsts(self, snapshot: Snapshot) -> dict[int, int]:
        found = clusters.first(_text(content) for _, content in self._records(snapshot))
        return {leaf: first for leaf, first in enumerate(found) if first != leaf}

    def _rows(self, snapshot: Snapshot) -> Iterator[Row]:
        for leaf, (record, _) in enumerate(self._records(snapshot, texts=False)):
            yield publish.row(leaf, record)

    def _records(self, snapshot: Snapshot, *, texts: bool = True) -> Iterator[tuple[Record, Content | None]]:
        start = 0
        while start < snapshot.record_count:
            batch = self.database.read_now(
                lambda c, at=start: store_snapshots.leaves(c, snapshot, at, _AT_ONCE)  # type: ignore[misc]
            )
            wanted = [record.id for record, _ in batch] if texts else []
            said = self.database.read_now(lambda c, w=wanted: store_records.contents(c, self.vault, w))  # type: ignore[misc]
            yield from ((record, said.get(record.id)) for record, _ in batch)
            start += len(batch)


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
        except OSError as error:
            self._log.warning("not published yet", snapshot=snapshot.name, problem=str(error))
            return False
        self._log.info("published", snapshot=made.name, manifest=made.manifest)
        self._done()
        return True


def _text(content: Content | None) -> str:
    """All that a record says; nothing of one that is erased."""
    return "\n".join(text for _, text in sorted(content.fields.items())) if content else ""
