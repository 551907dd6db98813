"""Private files of revisions, checked and open: those used last, and of those that are not here, what can be said.

What is damaged is as if it were not here.  Knows nothing of what is in the files, and does not bring them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from openledger.adapters import read_manifest
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.manifest import LineageManifest
from services.attribution.fetch import Fetcher
from services.kit import logs
from services.kit.private_files import PrivateFiles

T = TypeVar("T")
_POLL = 0.25

log = logs.logger("attribution")


class Availability(StrEnum):
    """Whether what is shown from a private file could be looked for."""

    READY = "READY"
    PENDING = "PENDING"
    NONE = "NONE"
    """The model has no such file."""
    ERASED = "ERASED"
    UNAVAILABLE = "UNAVAILABLE"
    FORGOTTEN = "FORGOTTEN"
    """The file may be here, and the answer's text is not kept any more."""
    PRIVATE = "PRIVATE"
    """The file may be here, and the answer's text is not for who asks."""


class Opened(Generic[T]):
    """Files of one name.  For several threads."""

    def __init__(self, kept: PrivateFiles, name: str, read: Callable[[Path], T], keep: int) -> None:
        """read: opens a file, and raises `ValueError` or `OSError` where it is not what it should be."""
        self._kept, self.name, self._read, self._keep = kept, name, read, keep
        self._open: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, lineage: LineageManifest) -> T | None:
        """A revision's file, or None where it is not here.  One that is damaged is removed, as if it were not here."""
        digest = lineage.digest
        place = self._kept.place(digest, self.name)
        with self._lock:
            if not place.exists():  # not any more, maybe: what is erased is not shown from memory
                self._open.pop(digest, None)
                return None
            if digest not in self._open:
                if file_sha256(place) != lineage.private_files[self.name]:
                    place.unlink(missing_ok=True)  # the rest of its folder may be on its way
                    return None
                self._open[digest] = self._read(place)
            self._open.move_to_end(digest)
            self._kept.used(digest)
            while len(self._open) > self._keep:
                self._open.popitem(last=False)
            return self._open[digest]


class Shelf(Generic[T]):
    """The same, for those who can wait while a file is on its way."""

    def __init__(
        self, opened: Opened[T], fetcher: Fetcher, artifacts: ArtifactStore, worker: ThreadPoolExecutor
    ) -> None:
        """worker: threads of its own, since a large file takes seconds to be checked."""
        self._opened, self._fetcher, self._artifacts, self._worker = opened, fetcher, artifacts, worker

    async def get(self, revision: str, wait: float) -> tuple[LineageManifest, T] | Availability:
        """A revision's manifest and file, or why it is not here.  revision: "" of the base model; wait: seconds."""
        deadline = time.monotonic() + wait
        while True:
            found = await asyncio.get_running_loop().run_in_executor(self._worker, self._look, revision)
            if found is Availability.PENDING:  # asked here: the fetcher lives in this thread
                found = Availability(self._fetcher.missing(revision, self._opened.name).value)
            if found is not Availability.PENDING or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(_POLL)

    def _look(self, revision: str) -> tuple[LineageManifest, T] | Availability:
        try:
            lineage = read_manifest(self._artifacts, revision.rpartition("/")[2]) if revision else None
            if lineage is None or self._opened.name not in lineage.private_files:
                return Availability.NONE
            file = self._opened.get(lineage)
            return Availability.PENDING if file is None else (lineage, file)
        except (OSError, ValueError) as error:  # also of artifacts, manifests, and what is in the file
            log.warning("a private file cannot be used", revision=revision, file=self._opened.name, error=str(error))
            return Availability.UNAVAILABLE
