"""A worker: a process of its own for one shard.

    python -m services.kit.executor_worker PARENT      reads one order, a line of JSON, from stdin

On one machine workers are no new Pythons but copies of one that has imported everything: executor_forkserver.py.

Reports and failures go out as lines of JSON, the result goes into the shard's folder.  Nothing is pickled.  Knows not
who started it, or on which machine.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from openledger.memory import is_exhausted
from services.kit.confine import die_with
from services.kit.executor import MAX_REPORT_BYTES, Shard, TaskContext
from services.kit.executor_folder import ShardFolder, find

COMMAND = (sys.executable, "-m", "services.kit.executor_worker")
_MAX_MESSAGE = 10_000  # characters; an exception may quote whatever it was given


@dataclass(frozen=True)
class Order:
    """What a worker is told."""

    root: Path
    shard: Shard
    environment: Mapping[str, str]
    memory: int | None
    """Bytes that it may write to; None for no bound but the machine's."""
    reports: Path | None
    """The file that reports are appended to; None for stdout."""

    def line(self) -> bytes:
        """As it is sent."""
        plain = {
            "root": str(self.root),
            "task": self.shard.task,
            "arguments": dict(self.shard.arguments),
            "environment": dict(self.environment),
            "memory": self.memory,
            "reports": str(self.reports) if self.reports else None,
        }
        return json.dumps(plain).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """What `line` says."""
        plain = json.loads(line)
        shard = Shard(plain["task"], plain["arguments"])
        reports = Path(plain["reports"]) if plain["reports"] else None
        return cls(Path(plain["root"]), shard, plain["environment"], plain["memory"], reports)


def end(pid: int) -> None:
    """Kill a worker, if it still runs, and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def main(parent: int) -> int:
    """Work, as long as the process `parent` lives.

    0 when the shard is done; 1 when the task raised and that was told; anything else is a death.
    """
    die_with(parent)
    order = Order.parse(sys.stdin.buffer.readline())
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)  # what a task starts must not keep the line open that ends with this process
    _be_the_first_to_go()
    if order.memory is not None:
        # What can be written to, shared libraries and mapped weights aside; RLIMIT_AS would count address space that
        # torch and CUDA reserve and never touch.
        resource.setrlimit(resource.RLIMIT_DATA, (order.memory, order.memory))
    os.environ.update(order.environment)
    said = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print must not land among what is said
    try:
        _work(order, said)
    except Exception as error:  # noqa: BLE001 - a task may raise anything; its caller is told what
        _write(said, {"failed": {"kind": _kind(error), "message": str(error)[:_MAX_MESSAGE]}})
        return 1
    return 0


def _work(order: Order, said: int) -> None:
    folder = ShardFolder(order.root, order.shard)
    with folder.held(wait=True):
        if folder.done():
            return  # by another worker, while this one waited
        folder.begin()
        report = partial(_report, said, order.reports)
        context = TaskContext(folder.output, folder.scratch, report, partial(find, order.root))
        module, _, function = order.shard.task.partition(":")
        result = getattr(importlib.import_module(module), function)(dict(order.shard.arguments), context)
        if not isinstance(result, dict):
            raise TypeError(f"a task returns a JSON object, this one returned {type(result).__name__}")
        folder.publish(result)


def _report(said: int, file: Path | None, report: dict[str, Any]) -> None:
    if file is None:
        _write(said, {"report": report})
        return
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        _write(handle, {"report": report})
    finally:
        os.close(handle)  # which is when a network file system shows it to the other side


def _write(handle: int, message: dict[str, Any]) -> None:
    line = json.dumps(message, allow_nan=False).encode() + b"\n"
    if len(line) > MAX_REPORT_BYTES:
        raise ValueError(f"a report of {len(line)} bytes is longer than {MAX_REPORT_BYTES}: write it to a file")
    while line:
        line = line[os.write(handle, line) :]


def _kind(error: Exception) -> str:
    """The class's name; one for all that say, in their several ways, that memory is out, and one for the disk."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "DiskFull"
    return MemoryError.__name__ if is_exhausted(error) else type(error).__name__


def _be_the_first_to_go() -> None:
    """Linux: when the machine runs out of memory, its kernel ends this worker and not the service that waits for it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1])))
