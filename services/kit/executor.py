"""Big compute behind one port: shards of work, wherever they run.

A shard's output folder is named by the hash of what goes into it.  A shard that finds its output there is done, so any
worker may die and be started again, and no finished work is done twice.  A task is a plain function

    def task(arguments: dict, output: Path, report: Callable[[dict], None]) -> dict

in a module that workers can import; arguments, reports and result are JSON.  It writes its files into `output`, which
appears under its final name all at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from openledger import canonical
from openledger.artifacts import sync_folder

_RESULT = "result.json"


class TaskFailed(RuntimeError):
    """A task raised.  `kind` is the exception's class name, the text its message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


@dataclass(frozen=True)
class Shard:
    """One piece of work: `module:function` and its JSON arguments, which name every input by digest."""

    task: str
    arguments: Mapping[str, Any]

    def digest(self) -> str:
        """Hex SHA-256 of what goes in; names the output."""
        return canonical.digest({"task": self.task, "arguments": dict(self.arguments)})


@dataclass(frozen=True)
class Done:
    """A finished shard: where its files are, and what it returned."""

    output: Path
    result: Mapping[str, Any]


class Executor(Protocol):
    """Where shards run."""

    async def run(self, shard: Shard, report: Callable[[dict[str, Any]], None]) -> Done:
        """Run a shard to its end, or find it finished.  Raises `TaskFailed`; cancelling it stops the worker."""


class LocalExecutor:
    """A child process a shard, on this machine."""

    def __init__(self, root: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self._root, self._environment = Path(root), dict(environment or {})
        self._in_hand: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, shard: Shard, report: Callable[[dict[str, Any]], None]) -> Done:
        """See `Executor.run`."""
        digest = shard.digest()
        output = self._root / digest
        lock = self._in_hand.setdefault(digest, asyncio.Lock())
        async with lock:  # whoever asks for the same shard meanwhile waits, and finds it
            if not (output / _RESULT).exists():
                await self._make(shard, output, report)
        return Done(output, json.loads((output / _RESULT).read_text()))

    async def _make(self, shard: Shard, output: Path, report: Callable[[dict[str, Any]], None]) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        for leftover in self._root.glob(f".{output.name}-*"):
            shutil.rmtree(leftover)  # of a parent that was killed: nothing in there was promised to anybody
        working = self._root / f".{output.name}-{uuid.uuid4().hex[:8]}"
        working.mkdir()
        try:
            await self._run_child(shard, working, report)
            working.rename(output)
        except BaseException:
            shutil.rmtree(working, ignore_errors=True)
            raise
        sync_folder(self._root)

    async def _run_child(self, shard: Shard, working: Path, report: Callable[[dict[str, Any]], None]) -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.kit.executor",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self._environment, "OPENLEDGER_PARENT": str(os.getpid())},
            start_new_session=True,
            limit=2**24,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            order = {"task": shard.task, "arguments": dict(shard.arguments), "output": str(working)}
            child.stdin.write(json.dumps(order).encode() + b"\n")
            child.stdin.close()
            failure = await _listen(child.stdout, report)
            status = await child.wait()
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                await child.wait()
        if failure is not None or status != 0:
            raise failure or TaskFailed("WorkerDied", f"the worker ended with status {status} before it was done")


async def _listen(stream: asyncio.StreamReader, report: Callable[[dict[str, Any]], None]) -> TaskFailed | None:
    failure = None
    async for line in stream:
        message = json.loads(line)
        if "report" in message:
            report(message["report"])
        elif "failed" in message:
            failure = TaskFailed(message["failed"]["kind"], message["failed"]["message"])
    return failure


def _work() -> int:
    """The child: reads one order from stdin, writes reports as JSON lines to stdout."""
    order = json.loads(sys.stdin.readline())
    _die_with_parent()
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print must not land among the reports
    output = Path(order["output"])

    def send(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")

    try:
        module, _, function = order["task"].partition(":")
        result = getattr(importlib.import_module(module), function)(
            order["arguments"], output, lambda r: send({"report": r})
        )
        with (output / _RESULT).open("w") as file:
            json.dump(result, file)
            file.flush()
            os.fsync(file.fileno())
    except Exception as error:  # noqa: BLE001 - a task may raise anything; its caller is told what
        send({"failed": {"kind": type(error).__name__, "message": str(error)}})
        return 1
    return 0


def _die_with_parent() -> None:
    """Linux: a worker whose service was killed must not train on alone.  Elsewhere it runs to its end, harmlessly."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != int(os.environ["OPENLEDGER_PARENT"]):
            raise SystemExit(1)  # it died before we asked


if __name__ == "__main__":
    raise SystemExit(_work())
