"""What is left of a shard on disk: the one folder that an executor and its workers share.

    <root>/<digest>/           a finished shard: the task's files and result.json; never changes
    <root>/.<digest>/          one that is not: lock, output/, scratch/, and messages where no pipe leads to the parent

A worker holds the lock as long as it lives, so that of two that work on one shard, on any machine, the second waits
and then finds the first one's result.  Needs a file system with POSIX locks and atomic renames that all machines see: a
local disk, NFSv4, CephFS.  Knows neither processes nor clusters.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from openledger.artifacts import sync_folder
from services.kit.executor import WORKER_DIED, Done, NotFinished, Report, Shard, TaskFailed

_RESULT = "result.json"
_DYING_SECONDS = 2.0  # that a worker on another machine may need to be gone once it was killed
_sweeping = threading.Lock()  # POSIX locks are between processes, not between the threads of one
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def find(root: Path, digest: str) -> Path:
    """The output folder of a finished shard.  Raises `NotFinished`."""
    if not _DIGEST.match(digest) or not (root / digest / _RESULT).exists():
        raise NotFinished(f"no finished shard is called {digest}")
    return root / digest


class ShardFolder:
    """One shard's place under the root."""

    def __init__(self, root: Path, shard: Shard | str) -> None:
        """shard: itself, or its digest."""
        self._root, digest = root, shard if isinstance(shard, str) else shard.digest()
        self._final = root / digest
        self.unfinished = root / f".{digest}"
        self.output, self.scratch = self.unfinished / "output", self.unfinished / "scratch"
        self._lock = self.unfinished / "lock"

    def done(self) -> Done | None:
        """The result, where it is there; it counts as used now."""
        try:
            result = json.loads((self._final / _RESULT).read_text())
            os.utime(self._final)
        except FileNotFoundError:
            return None
        return Done(self._final, result)

    def used(self) -> float:
        """When it was last made, found or worked on, in seconds since the epoch; 0 where nothing is there."""
        places = (self._final, self.unfinished, self.output, self.scratch)
        return max((place.stat().st_mtime for place in places if place.exists()), default=0.0)

    @contextlib.contextmanager
    def held(self, *, wait: bool) -> Iterator[bool]:
        """Hold the shard against every other process; says whether it is held, which it always is after waiting."""
        handle = self._locked(wait=wait)
        try:
            yield handle is not None
        finally:
            if handle is not None:
                os.close(handle)

    def _locked(self, *, wait: bool) -> int | None:
        """A handle that holds the lock.  POSIX locks end with their process, and are not inherited by its children."""
        while True:
            self.unfinished.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # swept away in between
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(handle).st_ino == self._lock.stat().st_ino:
                    return handle
            except FileNotFoundError:
                pass  # the last holder swept it away: this is the lock of nothing
            except (BlockingIOError, PermissionError):
                os.close(handle)
                return None
            os.close(handle)

    def begin(self) -> None:
        """Make an empty `output`, and `scratch` where it is not there.  Only while held."""
        if self.output.exists():
            shutil.rmtree(self.output)  # of a worker that was killed: nothing in there was promised to anybody
        self.output.mkdir()
        self.scratch.mkdir(exist_ok=True)

    def publish(self, result: Mapping[str, Any]) -> None:
        """Give `output` its final name.  Only while held, on the machine that wrote it."""
        (self.output / _RESULT).write_text(json.dumps(result, allow_nan=False))
        # Before it has its final name: what is found under that is never made again, not after a power cut either.
        for path in (*self.output.rglob("*"), self.output):
            sync_folder(path)
        self.output.rename(self._final)
        sync_folder(self._root)

    def sweep(self, *, keep_scratch: bool) -> None:
        """Remove what an attempt left, unless another one is at it."""
        deadline = time.monotonic() + _DYING_SECONDS
        while self.unfinished.exists() and not self._swept(keep_scratch) and time.monotonic() < deadline:
            time.sleep(0.02)

    def remove(self) -> None:
        """Take the result away, unless an attempt holds the shard; whoever looks finds all of it, or nothing."""
        with _sweeping, self.held(wait=False) as held:
            if held and self._final.exists():
                if self.output.exists():
                    shutil.rmtree(self.output)
                self._final.rename(self.output)
        self.sweep(keep_scratch=False)

    def _swept(self, keep_scratch: bool) -> bool:
        with _sweeping, self.held(wait=False) as held:
            if not held:
                return False
            if keep_scratch and self.scratch.exists() and any(self.scratch.iterdir()):
                kept = {self.scratch, self._lock}
            else:
                kept = {self._lock}
            for path in set(self.unfinished.iterdir()) - kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if kept == {self._lock}:
                self._lock.unlink()  # the last thing in there: whoever waits for it finds that it is gone
                with contextlib.suppress(OSError):
                    self.unfinished.rmdir()
            return True


class FolderExecutor(ABC):
    """What every executor does that keeps its shards in a folder; where an attempt runs is left to it."""

    def __init__(self, root: Path) -> None:
        """root: absolute, or from the working directory of whoever asks."""
        self._root = Path(root).absolute()
        self._in_hand: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @abstractmethod
    async def _attempt(self, shard: Shard, folder: ShardFolder, report: Report) -> None:
        """Run a worker to its end, which publishes the folder.  Raises `TaskFailed`; no worker is left behind."""

    async def run(self, shard: Shard, report: Report) -> Done:
        """See `Executor.run`."""
        folder, digest = ShardFolder(self._root, shard), shard.digest()
        async with self._in_hand.setdefault(digest, asyncio.Lock()):  # who asks meanwhile waits, and finds it
            done = folder.done()
            if done is None:
                await self._make(shard, folder, report)
                done = folder.done()
            else:
                # Whoever made it may have been killed before it could.
                await asyncio.to_thread(folder.sweep, keep_scratch=False)
        if done is None:
            said = f"the worker ended as if it were done, and no result is in {self._root}: do workers see that folder?"
            raise TaskFailed("ResultMissing", said)
        return done

    async def _make(self, shard: Shard, folder: ShardFolder, report: Report) -> None:
        keep_scratch = True
        try:
            await self._attempt(shard, folder, report)
            keep_scratch = False
        except TaskFailed as failure:
            finished = folder.done() is not None  # and killed afterwards, or by itself while it was taking its leave
            # What a task leaves that raised would lead to the same place.
            keep_scratch = failure.kind == WORKER_DIED and not finished
            if not finished:
                raise
        finally:
            await asyncio.to_thread(folder.sweep, keep_scratch=keep_scratch)

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of what workers run on."""

    async def find(self, shard: Shard) -> Done | None:
        """See `Executor.find`."""
        return await asyncio.to_thread(ShardFolder(self._root, shard).done)

    async def remove(self, shard: Shard) -> None:
        """See `Executor.remove`."""
        await asyncio.to_thread(ShardFolder(self._root, shard).remove)

    async def discard(self, shard: Shard) -> None:
        """See `Executor.discard`."""
        await asyncio.to_thread(ShardFolder(self._root, shard).sweep, keep_scratch=False)

    async def expire(self, before: float, keep: Collection[str]) -> None:
        """See `Executor.expire`."""
        await asyncio.to_thread(self._expire, before, keep)

    def _expire(self, before: float, keep: Collection[str]) -> None:
        names = {path.name.removeprefix(".") for path in self._root.glob("*")}
        for digest in sorted(name for name in names if _DIGEST.match(name) and name not in keep):
            folder = ShardFolder(self._root, digest)
            if folder.used() < before:
                folder.remove()
