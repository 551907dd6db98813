"""Shards on this machine: a child process each, so many at once.

The bound holds for everybody who shares the executor, so that two jobs queue up instead of thrashing.  What it does not
know: other services' processes, and workers of an executor in another process.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from services.kit.executor import MAX_REPORT_BYTES, WORKER_DIED, Report, Shard, TaskFailed
from services.kit.executor_folder import FolderExecutor, ShardFolder
from services.kit.executor_forkserver import FORK_SERVER
from services.kit.executor_worker import Order, end


class LocalExecutor(FolderExecutor):
    """See `Executor`."""

    def __init__(
        self, root: Path, *, environment: Mapping[str, str] | None = None, at_once: int = 1, memory: int | None = None
    ) -> None:
        """environment: what workers find beside this process's own.  memory: bytes that each may write to."""
        super().__init__(root)
        self._environment, self._memory = dict(environment or {}), memory
        self._room = asyncio.Semaphore(at_once)

    async def _attempt(self, shard: Shard, folder: ShardFolder, report: Report) -> None:
        async with self._room:
            await self._run_child(Order(self._root, shard, self._environment, self._memory, reports=None), report)

    async def _run_child(self, order: Order, report: Report) -> None:
        module, _, _ = order.shard.task.partition(":")
        async with _Child.made(module) as child:
            failure = await child.listen(order, report)
        if failure is not None or child.status != 0:
            raise failure or TaskFailed(WORKER_DIED, f"the worker ended with status {child.status} before it was done")


class _Child:
    """A worker, from its fork to its end."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        """line: the socket to it; ends when it does."""
        self._pid, self._line = pid, line
        self.status: int | None = None
        """Once it has ended; None if nobody knows."""

    @classmethod
    @asynccontextmanager
    async def made(cls, module: str) -> AsyncIterator[_Child]:
        """A worker that has imported `module`; when the block is left it has ended, and so has all that it started."""
        forking = asyncio.create_task(asyncio.to_thread(FORK_SERVER.fork, module))
        try:
            child = cls(*await asyncio.shield(forking))
        except asyncio.CancelledError:
            await cls(*await forking)._end()
            raise
        try:
            yield child
        finally:
            await child._end()

    async def listen(self, order: Order, report: Report) -> TaskFailed | None:
        """Tell it what to do, and pass on what it says until it has ended; returns what failed."""
        reader, writer = await asyncio.open_unix_connection(sock=self._line, limit=2 * MAX_REPORT_BYTES)
        failure = None
        try:
            writer.write(order.line())
            writer.write_eof()
            async for line in reader:
                message = json.loads(line)
                if "report" in message:
                    report(message["report"])
                elif "failed" in message:
                    failure = TaskFailed(message["failed"]["kind"], message["failed"]["message"])
        except ConnectionError:
            pass  # it died before it had heard everything
        finally:
            writer.close()
        return failure

    async def _end(self) -> None:
        end(self._pid)
        self._line.close()
        self.status = await asyncio.to_thread(FORK_SERVER.wait, self._pid)
