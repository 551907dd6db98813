"""A worker: a process of its own for one shard.

    python -m services.kit.executor_worker      reads one order, a line of JSON, from stdin

Reports and failures go out as lines of JSON, through stdout or into the file that the order names; the result goes into
the shard's folder.  Nothing is pickled.  Knows not who started it, or on which machine.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.kit.executor import MAX_REPORT_BYTES, Shard, TaskContext
from services.kit.executor_folder import ShardFolder, find

COMMAND = (sys.executable, "-m", "services.kit.executor_worker")
_MAX_MESSAGE = 10_000  # characters; an exception may quote whatever it was given
_OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc", "out of memory")


@dataclass(frozen=True)
class Order:
    """What a worker is told."""

    root: str
    task: str
    arguments: dict[str, Any]
    parent: int
    """The process whose end is the worker's end."""
    memory: int | None
    """Bytes of writable memory that it may have; None for no bound but the machine's."""
    messages: str | None
    """The file that messages are appended to; None for stdout."""

    def line(self) -> bytes:
        """As it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"


Send = Callable[[dict[str, Any]], None]


def main() -> int:
    """Work.  0 when the shard is done; 1 when the task raised and that was told; anything else is a death."""
    order = Order(**json.loads(sys.stdin.readline()))
    _die_with(order.parent)
    _be_the_first_to_go()
    if order.memory is not None:
        # What can be written to, shared libraries and mapped weights aside; RLIMIT_AS would count address space that
        # torch and CUDA reserve and never touch.
        resource.setrlimit(resource.RLIMIT_DATA, (order.memory, order.memory))
    send = _channel(order.messages)
    try:
        _work(order, send)
    except Exception as error:  # noqa: BLE001 - a task may raise anything; its caller is told what
        send({"failed": {"kind": _kind(error), "message": str(error)[:_MAX_MESSAGE]}})
        return 1
    return 0


def _work(order: Order, send: Send) -> None:
    shard, root = Shard(order.task, order.arguments), Path(order.root)
    folder = ShardFolder(root, shard)
    with folder.held(wait=True):
        if folder.done():
            return  # by another worker, while this one waited
        folder.begin()
        context = TaskContext(
            folder.output, folder.scratch, lambda report: send({"report": report}), lambda digest: find(root, digest)
        )
        module, _, function = order.task.partition(":")
        result = getattr(importlib.import_module(module), function)(order.arguments, context)
        if not isinstance(result, dict):
            raise TypeError(f"a task returns a JSON object, {order.task} returned {type(result).__name__}")
        folder.publish(result)


def _channel(path: str | None) -> Send:
    """How messages leave.  Raises, in the task, `TypeError` or `ValueError` for what is not JSON or too long."""
    pipe = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print must not land among the messages

    def send(message: dict[str, Any]) -> None:
        line = json.dumps(message, allow_nan=False).encode() + b"\n"
        if len(line) > MAX_REPORT_BYTES:
            raise ValueError(f"a report of {len(line)} bytes is longer than {MAX_REPORT_BYTES}: write it to a file")
        # On a network file system, closing is what shows the line to the other side.
        handle = pipe if path is None else os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            while line:
                line = line[os.write(handle, line) :]
        finally:
            if handle != pipe:
                os.close(handle)

    return send


def _kind(error: Exception) -> str:
    """The class's name; one for all that say, in their several ways, that memory is out."""
    text = str(error).lower()
    if isinstance(error, RuntimeError | MemoryError) and (
        isinstance(error, MemoryError) or any(mark in text for mark in _OUT_OF_MEMORY)
    ):
        return MemoryError.__name__
    return type(error).__name__


def _be_the_first_to_go() -> None:
    """Linux: when the machine runs out of memory, its kernel ends this worker and not the service that waits for it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _die_with(parent: int) -> None:
    """Linux: a worker whose service was killed must not train on alone.  Elsewhere it runs to its end, harmlessly."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit(1)  # it died before we asked


if __name__ == "__main__":
    raise SystemExit(main())
