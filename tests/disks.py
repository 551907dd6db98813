"""A full disk: for the databases that services open in this process, and for the artifacts that they publish."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

import pytest

from openledger.artifacts import ArtifactStore
from services.kit.database import Database

_ROOM = 2**30


class Disk:
    """Make it before the service.  Nothing is full until `fill`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._databases: list[Database] = []
        self._artifacts_full = False
        init, write = Database.__init__, ArtifactStore._write

        def opened(database: Database, url: str, *, pool: int = 8, erases: bool = False) -> None:
            init(database, url, pool=pool, erases=erases)
            self._databases.append(database)

        def stored(store: ArtifactStore, digest: str, chunks: Iterable[bytes]) -> None:
            if self._artifacts_full:
                raise OSError(errno.ENOSPC, "No space left on device", str(Path(store.root) / digest))
            write(store, digest, chunks)

        monkeypatch.setattr(Database, "__init__", opened)
        monkeypatch.setattr(ArtifactStore, "_write", stored)

    def fill(self, what: str) -> None:
        """`what` is "database" or "artifacts".  A database has some bytes left in the pages that it has."""
        assert self._databases, "no service has opened a database yet"
        if what == "artifacts":
            self._artifacts_full = True
        else:
            for database in self._databases:
                self._limit(database, database.write_now(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one()))

    def free(self) -> None:
        """There is room again."""
        self._artifacts_full = False
        for database in self._databases:
            self._limit(database, _ROOM)

    def _limit(self, database: Database, pages: int) -> None:
        database.write_now(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").all())
