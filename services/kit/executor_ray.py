"""Shards on a Ray cluster: on whichever node has room, in a process of its own there.

Ray places, watches and kills.  Everything else goes through the folder, which every node must see under the same path:
results, scratch and reports alike.  What Ray carries is bytes of JSON: nothing that a task was given or made is ever a
pickle.  A worker or a node that is lost is a `WORKER_DIED`, and the next attempt may be anywhere.

Nodes have this code and this version of Ray installed.  Whoever reaches the cluster can run code on it, so it belongs
on a network of its own.  Does not know how the cluster is made, or whether it grows when nothing has room.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, TaskCancelledError

from services.kit import logs
from services.kit.executor import WORKER_DIED, Report, Shard, TaskFailed
from services.kit.executor_folder import FolderExecutor, ShardFolder
from services.kit.executor_worker import COMMAND, Order, end

_ANSWER_SECONDS = 10.0  # that a cluster has to answer at all
_AWAY_SECONDS = 5.0  # between two attempts to find a lost cluster again
_LOOK_SECONDS = 0.1  # between two looks at what was reported
_CANCEL_SECONDS = 10.0  # that a node gets to end a worker, before Ray ends whatever runs there
_VISIBLE_SECONDS = 90.0  # until a network file system has surely shown here what a node wrote


def connect(address: str) -> None:
    """Join a cluster: `auto`, `host:port`, or `ray://host:port`.  One a process.  Raises `ConnectionError`."""
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        if address != "auto":
            host, _, port = address.removeprefix("ray://").rpartition(":")
            # Ray itself tries for a quarter of an hour.
            socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
        _init(address)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Ray cluster answers at {address}: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_termination)  # Ray's own would end a service without letting it finish


def _init(address: str) -> None:
    for attempts_left in (2, 1, 0):
        ray.shutdown()  # or Ray believes that it is still in the cluster that it lost
        try:
            ray.init(address, namespace="openledger", log_to_driver=False, configure_logging=False)
            return
        except ConnectionAbortedError:  # Ray Client's server forks for each client; see docs/adr/0013 on that
            if not attempts_left:
                raise


class RayExecutor(FolderExecutor):
    """See `Executor`.  All that a process has share its one connection."""

    def __init__(
        self,
        root: Path,
        address: str,
        *,
        environment: Mapping[str, str] | None = None,
        cpus: float = 1,
        gpus: float = 0,
        memory: int | None = None,
    ) -> None:
        """Join the cluster at `address`, see `connect`, if this process is in none.  Raises `ConnectionError`.

        root: one folder, under this path here and on every node.  environment: what workers find beside their node's
        own.  cpus, gpus, memory (bytes): what must be free on a node for a worker to go there; beyond the memory it
        gets none.
        """
        super().__init__(root)
        self._address, self._environment, self._memory = address, dict(environment or {}), memory
        # Ray itself starts nothing again: the caller counts the dead.
        self._options = {"num_cpus": cpus, "num_gpus": gpus, "memory": memory, "max_retries": 0}
        if not ray.is_initialized():
            connect(address)
        self._remote, self._joining = ray.remote(**self._options)(_supervise), asyncio.Lock()
        if not any(node["Alive"] and node["Resources"].get("CPU", 0) >= cpus for node in ray.nodes()):
            logs.logger("executor").warning("no node of the Ray cluster is large enough; shards wait", cpus=cpus)

    def close(self) -> None:
        """Leave the cluster; Ray ends what still runs there for this process."""
        ray.shutdown()

    async def _attempt(self, shard: Shard, folder: ShardFolder, report: Report) -> None:
        tail = _Tail(folder.unfinished / f"reports-{uuid.uuid4().hex}", report)
        order = Order(self._root, shard, self._environment, self._memory, tail.path)
        await self._joined()
        try:
            ref = self._remote.remote(order.line())
        except ConnectionError as error:
            raise TaskFailed(WORKER_DIED, f"the Ray cluster was lost: {error}") from None
        running = asyncio.wrap_future(ref.future())
        try:
            while not running.done():
                await asyncio.wait((running,), timeout=_LOOK_SECONDS)
                await tail.deliver()
        finally:
            if not running.done():
                await _cancel(ref, running)
        ended = _outcome(running)
        await _visible(lambda: tail.has(ended["reported"]))
        if ended["failed"]:
            raise TaskFailed(**ended["failed"])
        if ended["status"] != 0:
            raise TaskFailed(WORKER_DIED, f"the worker ended with status {ended['status']} before it was done")
        await _visible(lambda: _is_done(folder))

    async def _joined(self) -> None:
        """Wait until the process is in the cluster; Ray Client leaves one that was away for half a minute."""
        async with self._joining:
            while not ray.is_initialized():
                try:
                    await asyncio.to_thread(connect, self._address)
                    self._remote = ray.remote(**self._options)(_supervise)
                except ConnectionError as error:
                    logs.logger("executor").warning("waiting for the Ray cluster", error=str(error))
                    await asyncio.sleep(_AWAY_SECONDS)


def _supervise(line: bytes) -> bytes:
    """On a node: run one worker to its end.  In: the order.  Out: `status`, `failed`, and bytes `reported`, as JSON."""
    order = Order.parse(line)
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(  # noqa: S603 - this Python, and our module
            (*COMMAND, str(os.getpid())), stdin=subprocess.PIPE, stdout=said, start_new_session=True
        )
        try:
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError), child.stdin as stdin:
                stdin.write(line)
            while (status := child.poll()) is None:
                time.sleep(0.05)  # short, since Ray cancels between two instructions of Python and not within a call
        finally:
            end(child.pid)
            child.wait()
        said.seek(0)
        failed = [json.loads(message)["failed"] for message in said]
    reported = order.reports.stat().st_size if order.reports and order.reports.exists() else 0
    return json.dumps({"status": status, "failed": failed[-1] if failed else None, "reported": reported}).encode()


def _outcome(running: asyncio.Future[bytes]) -> dict[str, Any]:
    """What became of a worker, said by its supervisor, or by Ray where that is gone.  Raises `TaskFailed`."""
    try:
        return dict(json.loads(running.result()))
    except RayTaskError as error:
        kind = WORKER_DIED if isinstance(error, TaskCancelledError) else type(error.cause).__name__
        raise TaskFailed(kind, f"the node could not run a worker: {error.cause}") from None
    except (RayError, ConnectionError) as error:
        raise TaskFailed(WORKER_DIED, str(error).partition("\n")[0]) from None


async def _cancel(ref: Any, running: asyncio.Future[bytes]) -> None:
    """End what runs, wherever, and wait until it has."""
    for force in (False, True):
        with contextlib.suppress(ConnectionError):  # a cluster that is lost ends by itself what it had from here
            ray.cancel(ref, force=force)
        await asyncio.wait((running,), timeout=_CANCEL_SECONDS)
        if running.done():
            running.exception()  # that it was cancelled; looked at, or asyncio complains
            return


async def _visible(look: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is seen that a node has written."""
    deadline = time.monotonic() + _VISIBLE_SECONDS
    while not await look() and time.monotonic() < deadline:  # noqa: ASYNC110 - another machine rings no bell here
        await asyncio.sleep(_LOOK_SECONDS)


async def _is_done(folder: ShardFolder) -> bool:
    return await asyncio.to_thread(folder.done) is not None


class _Tail:
    """Follows a file of reports that is being written on another machine."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self._report, self._offset = path, report, 0

    async def deliver(self) -> None:
        """Pass on what came."""
        for line in await asyncio.to_thread(self._new_lines):
            self._report(json.loads(line)["report"])

    async def has(self, size: int) -> bool:
        """Whether so many bytes of reports were passed on."""
        await self.deliver()
        return self._offset >= size

    def _new_lines(self) -> list[bytes]:
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.splitlines()
