"""Big compute behind one port: shards of work, wherever they run.

A shard's output is named by the hash of what goes into it.  A shard whose output is there is done, so any worker may
die and be started again, and no finished work is done twice.  A task is a plain function of JSON to JSON,

    def task(arguments: dict, context: TaskContext) -> dict

in a module that workers can import.  This file knows neither processes nor clusters nor folders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from openledger import canonical

Report = Callable[[dict[str, Any]], None]

WORKER_DIED = "WorkerDied"
"""The kind of a `TaskFailed` that says nothing against the task: its worker was killed, or its machine went away."""
MAX_REPORT_BYTES = 8 * 2**20
"""One report as JSON; files are for what is larger."""


class TaskFailed(RuntimeError):
    """A task raised, or its worker died.

    `kind` is `WORKER_DIED`, or the exception's class name: "MemoryError" for whatever a library raises when memory is
    out, "DiskFull" for an `OSError` that says so.  The text is its message.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


class NotFinished(LookupError):
    """A task asked for the output of a shard that is not done."""


@dataclass(frozen=True)
class TaskContext:
    """What a worker gives the task that it runs."""

    output: Path
    """An empty folder for the files of the result; appears under its final name, all at once, when the task returns."""
    scratch: Path
    """Survives a killed worker: the next attempt finds what this one left, half-written files included.  Removed when
    the task returns or raises."""
    report: Report
    """Tells whoever waits how far it is, in a JSON object.  Raises `TypeError` for what is none, `ValueError` for one
    beyond `MAX_REPORT_BYTES`."""
    outputs: Callable[[str], Path]
    """The output folder of a finished shard, by digest, for inputs that are shards.  Raises `NotFinished`."""


@dataclass(frozen=True)
class Shard:
    """One piece of work: `module:function` and its JSON arguments, which name every input by digest."""

    task: str
    arguments: Mapping[str, Any]

    def digest(self) -> str:
        """Hex SHA-256 of what goes in; names the output.  Raises `ValueError` for what JSON cannot hold exactly."""
        return canonical.digest({"task": self.task, "arguments": dict(self.arguments)})


@dataclass(frozen=True)
class Done:
    """A finished shard: where its files are, and what it returned."""

    output: Path
    result: Mapping[str, Any]


class Executor(Protocol):
    """Where shards run."""

    async def run(self, shard: Shard, report: Report) -> Done:
        """Run a shard to its end, or find it finished.  Raises `TaskFailed`; cancelling it stops the worker.

        A shard that is asked for twice at once is worked on once.  Reports come in order, to whoever asked first.
        """

    async def find(self, shard: Shard) -> Done | None:
        """A shard's result, where it is finished; starts nothing."""

    async def discard(self, shard: Shard) -> None:
        """Remove what killed or cancelled attempts left in scratch.  For a shard that nobody runs, or will."""

    async def remove(self, shard: Shard) -> None:
        """The same, and its result: for what is large, or must not be kept, and nobody needs any more.

        Whoever asks for it again has it made again.
        """

    async def expire(self, before: float, keep: Collection[str]) -> None:
        """Remove what shards left, finished or not, that nobody has made, found or worked on since a moment.

        before: seconds since the epoch.  keep: digests of shards that stay.
        """


async def run_all(
    executor: Executor,
    shards: Sequence[Shard],
    progress: Callable[[int, int], None],
    *,
    at_once: int,
    deaths: int = 3,
    report: Report = lambda _: None,
) -> list[Done]:
    """Run shards, `at_once` of them together; their results in the order of the shards.

    progress: called with how many are done and how many there are, once at the start and after each.
    deaths: workers that may die under one shard before it is given up: it is probably what kills them.
    report: takes what workers report, of all shards alike.

    The first failure stops the others and is raised as `TaskFailed`; cancelling stops all.  What was finished by then
    is found, not made, by the next call.
    """
    waiting, results = iter(enumerate(shards)), dict[int, Done]()
    progress(0, len(shards))

    async def work() -> None:
        for place, shard in waiting:
            results[place] = await _survive(executor, shard, deaths, report)
            progress(len(results), len(shards))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return [results[place] for place in range(len(shards))]


async def _survive(executor: Executor, shard: Shard, deaths: int, report: Report) -> Done:
    while True:
        try:
            return await executor.run(shard, report)
        except TaskFailed as failure:
            deaths -= failure.kind == WORKER_DIED
            if failure.kind != WORKER_DIED or deaths <= 0:
                raise
