"""Receipts' documents of epochs that are long over leave the database: they are in the epochs' bundles.

An epoch's documents are needed until its root pays: to settle them, and to write its bundle, once more if the root is
struck out.  Then they are 3 kB an answer that nobody asks the database for.  They go `keep` epochs later, and only
where the bundle with all of them is there, byte for byte.  Journals, payouts and digests stay for ever.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial

from sqlalchemy import Connection

from openledger.artifacts import ArtifactError, ArtifactStore
from services.kit import logs
from services.kit.database import Database
from services.ledger.pen import Pen
from services.ledger.store import epochs, settlements
from services.ledger.store.epochs import Epoch, State

PAUSE_SECONDS = 600.0
PIECE = 10_000
"""Documents deleted in one transaction: nobody waits long for it."""


class Retention:
    """Lets documents go, for ever, while this process has the pen.

    `keep`: epochs whose documents stay, the newest that pays among them.
    """

    def __init__(self, database: Database, artifacts: ArtifactStore, pen: Pen, *, keep: int) -> None:
        self._database, self._artifacts, self._pen, self._keep = database, artifacts, pen, keep
        self._log = logs.logger("ledger")

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self.step()
            await asyncio.sleep(PAUSE_SECONDS)

    async def step(self) -> int:
        """Let go what can go, oldest first; returns how many documents that were."""
        gone = 0
        while (epoch := await self._database.read(self._over)) is not None:
            runs = await self._database.read(partial(settlements.of_epoch, epoch=epoch.number))
            if not await asyncio.to_thread(self._published, epoch):
                self._log.error("documents are kept: the epoch's bundle is not whole", epoch=epoch.number)
                break
            forget = self._pen.checked(partial(settlements.forget, through=runs[-1].through, count=PIECE))
            while count := await self._database.write(forget):
                gone += count
            self._log.info("documents are in the bundle alone now", epoch=epoch.number)
        return gone

    def _over(self, connection: Connection) -> Epoch | None:
        """The oldest epoch that has documents here, if it is over for long enough."""
        newest, found = epochs.newest(connection, State.ACTIVE), settlements.oldest(connection)
        if newest is None or found is None or found.epoch > newest.number - self._keep:
            return None
        return epochs.get(connection, found.epoch)

    def _published(self, epoch: Epoch) -> bool:
        """Whether the bundle's receipts are among the artifacts, with the bytes that their names say."""
        try:
            manifest = json.loads(self._artifacts.get(epoch.bundle or ""))
            self._artifacts.path(manifest["files"]["receipts.parquet"]["sha256"])
        except (ArtifactError, ValueError, KeyError):
            return False
        return True
