"""Brings private files of adapter revisions here, in the background: nobody's receipt waits for them.

A file is fetched once a revision, goes on after its last byte when a transfer breaks or this process dies, and gets its
name only when it has the SHA-256 that the manifest promises.  One file's trouble is not another's.  What the Factory
says is erased is removed here too; it is asked now and then.  Knows nothing of what is in the files.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from openledger.adapters import read_manifest
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.client import ApiError, Client
from openledger.factory.v1 import factory_pb2
from openledger.manifest import LineageManifest
from services.kit import logs
from services.kit.metrics import Metrics
from services.kit.private_files import PrivateFiles
from services.kit.wait import happens

_FIRST_PAUSE, _LONGEST_PAUSE, _NEVER = 1.0, 300.0, float("inf")
_AFTER_BAD = 3600.0
"""After a file that was not the one that was promised: it most likely still is not, and may be large."""

log = logs.logger("attribution")


class State(StrEnum):
    """What can be said of a revision's private file that is not here."""

    PENDING = "PENDING"
    """On its way, or about to be."""
    ERASED = "ERASED"
    UNAVAILABLE = "UNAVAILABLE"
    """It could not be had so far; it is tried again, later each time."""


class BadTransfer(ValueError):
    """What came is not the file that was promised."""


@dataclass
class _Wish:
    """One file of a revision that is wanted."""

    state: State = State.PENDING
    due: float = 0.0
    """When it is tried next; never, where there is nothing to do."""
    pause: float = _FIRST_PAUSE


class Fetcher:
    """`run` for ever, in one task.  factory: None where there is none to ask."""

    def __init__(
        self,
        factory: Client | None,
        kept: PrivateFiles,
        artifacts: ArtifactStore,
        metrics: Metrics,
        names: Sequence[str],
        *,
        max_bytes: int,
        check_seconds: float,
    ) -> None:
        """names: of the files that are fetched, where a revision has them; the first of all revisions come first.

        max_bytes: of all files.  check_seconds: between two questions whether what is kept here is erased.
        """
        self._factory, self._kept, self._artifacts, self._names = factory, kept, artifacts, tuple(names)
        self._max_bytes, self._check_seconds = max_bytes, check_seconds
        self._wishes: dict[tuple[str, str], _Wish] = {}
        """By revision and file."""
        self._news = asyncio.Event()
        self._fetched = metrics.counter("private_files_fetched_total", "Private files fetched from the Factory")
        self._failed = metrics.counter("private_files_failed_total", "Tries to fetch private files that failed")

    def want(self, revision: str) -> None:
        """Have a revision's private files fetched, if it has any; returns at once.  revision: its whole name."""
        if self._factory is not None:
            for name in self._names:
                if (revision, name) not in self._wishes:
                    self._wishes[revision, name] = _Wish()
                    self._news.set()

    def missing(self, revision: str, name: str) -> State:
        """What can be said of a revision's file that is not here; it is wanted from now on."""
        self.want(revision)
        wish = self._wishes.get((revision, name))
        if wish is None:
            return State.UNAVAILABLE
        if wish.state is State.PENDING and wish.due == _NEVER:  # it was here
            wish.due = 0.0
            self._news.set()
        return wish.state

    async def run(self) -> None:
        """Fetch what is wanted, what an earlier process had begun first, and keep nothing that is erased."""
        if self._factory is None:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:  # what is erased does not wait for the end of a long transfer
            group.create_task(self._fetching())
            group.create_task(self._checking())

    async def _fetching(self) -> None:
        while True:
            self._news.clear()
            while (due := self._due()) is not None:
                await self._fulfil(*due, self._wishes[due])
            next_due = min((wish.due for wish in self._wishes.values()), default=_NEVER)
            await happens(self._news, min(max(next_due - time.monotonic(), 0), _LONGEST_PAUSE))

    def _due(self) -> tuple[str, str] | None:
        now = time.monotonic()
        due = [key for key, wish in self._wishes.items() if wish.due <= now]
        return min(due, key=lambda key: self._names.index(key[1]), default=None)

    async def _checking(self) -> None:
        while True:
            await self._check()
            await asyncio.sleep(self._check_seconds)

    async def _fulfil(self, revision: str, name: str, wish: _Wish) -> None:
        try:
            lineage = await asyncio.to_thread(read_manifest, self._artifacts, revision.rpartition("/")[2])
            digest = lineage.private_files.get(name)
            if digest is not None and not self._kept.place(lineage.digest, name).exists():
                await self._fetch(lineage, name, digest)
            wish.state, wish.due, wish.pause = State.PENDING, _NEVER, _FIRST_PAUSE
        except (ApiError, OSError, ValueError) as error:
            if isinstance(error, ApiError) and error.reason == "PRIVATE_FILE_ERASED":
                await self._forget(revision, State.ERASED)
                return
            pause = _AFTER_BAD if isinstance(error, BadTransfer) else wish.pause
            self._failed.inc()
            log.warning(
                "a private file cannot be fetched yet", revision=revision, file=name, error=str(error), pause=pause
            )
            wish.state, wish.due = State.UNAVAILABLE, time.monotonic() + pause
            wish.pause = min(2 * wish.pause, _LONGEST_PAUSE)

    async def _fetch(self, lineage: LineageManifest, name: str, digest: str) -> None:
        """Raises `ApiError`, `OSError`, `BadTransfer`."""
        partial = self._kept.partial(lineage.digest, name)
        try:
            await self._receive(lineage, name, partial)
            await asyncio.to_thread(_compare, partial, digest)
        except (BadTransfer, ApiError) as error:
            if isinstance(error, BadTransfer) or error.reason == "BAD_OFFSET":
                partial.unlink(missing_ok=True)  # begin anew
            raise
        await asyncio.to_thread(self._kept.finish, lineage.digest, name)
        self._fetched.inc()
        log.info("private file fetched", revision=lineage.revision, file=name)

    async def _receive(self, lineage: LineageManifest, name: str, partial: Path) -> None:
        """Append what is missing of a file."""
        assert self._factory is not None
        have, size = await asyncio.to_thread(_size, partial), -1
        room = self._max_bytes - await asyncio.to_thread(self._kept.beside, lineage.digest, name)
        request = factory_pb2.ReadPrivateFileRequest(revision=lineage.revision, file=name, offset=have)
        async for message in self._factory.stream(self._factory.factory.ReadPrivateFile, request):
            size, have = message.size, have + len(message.data)
            if have > size:
                raise BadTransfer(f"the Factory sends more of {name} than the {size} bytes that it told of")
            if size > room:
                raise BadTransfer(f"{name} has {size} bytes, and there is room for {room} here")
            await asyncio.to_thread(self._kept.make_room, len(message.data), self._max_bytes, lineage.digest)
            await asyncio.to_thread(_append, partial, message.data)
        if have != size:
            raise OSError(f"the transfer of {name} ended after {have} of {size} bytes")

    async def _check(self) -> None:
        """Take up what is not whole, and remove what is erased.  A Factory that is away is asked again later."""
        known = [await self._name(digest) for digest in await asyncio.to_thread(self._kept.revisions)]
        for revision in filter(None, known):
            self.want(revision)
        try:
            for revision in filter(None, known):
                await self._look(revision)
        except ApiError as error:
            log.warning("the Factory cannot say what is erased", error=str(error))

    async def _name(self, digest: str) -> str:
        """A revision's whole name; empty, and its files removed, where nobody knows it any more."""
        try:
            return (await asyncio.to_thread(read_manifest, self._artifacts, digest)).revision
        except (OSError, ValueError) as error:
            log.warning("private files of a revision that nobody knows are removed", digest=digest, error=str(error))
            await asyncio.to_thread(self._kept.remove, digest)
            return ""

    async def _look(self, revision: str) -> None:
        """Remove a revision's files if they are no more.  Raises `ApiError` where that cannot be said."""
        assert self._factory is not None
        request = factory_pb2.GetAdapterRevisionRequest(name=revision)
        try:
            answer = await self._factory.call(self._factory.factory.GetAdapterRevision, request, 10)
        except ApiError as error:
            if error.reason != "REVISION_NOT_FOUND":
                raise
            await self._forget(revision, State.UNAVAILABLE)
        else:
            if answer.state == factory_pb2.ADAPTER_REVISION_STATE_FLAGGED:
                await self._forget(revision, State.ERASED)

    async def _forget(self, revision: str, state: State) -> None:
        # In place of the wish whose transfer may be going on: what comes of that is not believed any more.
        due = _NEVER if state is State.ERASED else time.monotonic() + _AFTER_BAD
        self._wishes |= {(revision, name): _Wish(state, due) for name in self._names}
        await asyncio.to_thread(self._kept.remove, revision.rpartition("/")[2])
        log.info("private files are removed", revision=revision, state=state)


def _size(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _compare(partial: Path, digest: str) -> None:
    if file_sha256(partial) != digest:
        raise BadTransfer(f"{partial.stem}, as the Factory gives it, has another SHA-256 than the manifest names")


def _append(partial: Path, data: bytes) -> None:
    with partial.open("ab") as file:
        file.write(data)
