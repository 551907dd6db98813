"""Shards on this machine: a child process each, so many at once.

The bound holds for everybody who shares the executor, so that two jobs queue up instead of thrashing.  What it does not
know: other services' processes, and workers of an executor in another process.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path

from services.kit.executor import MAX_REPORT_BYTES, WORKER_DIED, Report, Shard, TaskFailed
from services.kit.executor_folder import FolderExecutor, ShardFolder
from services.kit.executor_worker import COMMAND, Order, end


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
        order = Order(self._root, shard, self._environment, self._memory, reports=None, parent=os.getpid())
        async with self._room:
            await self._run_child(order, report)

    async def _run_child(self, order: Order, report: Report) -> None:
        child = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=2 * MAX_REPORT_BYTES,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(order.line())
            child.stdin.close()
            failure = await _listen(child.stdout, report)
            status = await child.wait()
        finally:
            end(child.pid)
            await child.wait()
        if failure is not None or status != 0:
            raise failure or TaskFailed(WORKER_DIED, f"the worker ended with status {status} before it was done")


async def _listen(stream: asyncio.StreamReader, report: Report) -> TaskFailed | None:
    failure = None
    async for line in stream:
        message = json.loads(line)
        if "report" in message:
            report(message["report"])
        elif "failed" in message:
            failure = TaskFailed(message["failed"]["kind"], message["failed"]["message"])
    return failure
