"""Whether there is room on disk for what answers leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.kit.database import Database
from services.kit.errors import exhausted, from_exception
from services.openlora import store

DISK_FULL = "DISK_FULL"


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
