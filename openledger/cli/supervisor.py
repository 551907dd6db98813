"""Keeps the processes of one machine running: starts them in order, restarts what dies, stops all in reverse order.

A process is ready when it has printed a JSON line with `"serving": true` on stdout.  What it prints otherwise goes to
its log file.  Knows nothing of what the processes do.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from openledger.cli.child import LOOK_SECONDS, Child
from openledger.cli.installation import Process

T = TypeVar("T")

READY_SECONDS = 180
_RESTARTS, _RESTART_WINDOW = 5, 60.0


class StartFailed(RuntimeError):
    """A process did not come up; the text holds its last words."""


class Supervisor:
    """`async with Supervisor(waves, tell)`: all are ready inside, none runs after."""

    def __init__(
        self, waves: Sequence[Sequence[Process]], tell: Callable[[str, str], None], *, restarts: int = _RESTARTS
    ) -> None:
        """`tell(name, what)` hears of "starting", "ready", restarts and "stopped".

        What dies `restarts` times in a minute is given up.
        """
        self._waves, self._tell, self._restarts = waves, tell, restarts
        self._children: dict[str, Child] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._failed = asyncio.get_running_loop().create_future()
        try:
            for process in self._all():
                check_ports(process)
            for wave in self._waves:
                await self._launch_together(wave)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def watch(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, unless a process has to be given up first: then `StartFailed`."""
        assert self._failed is not None
        task = asyncio.ensure_future(work)
        waiting: set[asyncio.Future[Any]] = {task, self._failed}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                await self._failed
            return await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def pid(self, name: str) -> int:
        """The process id of a running child."""
        return self._children[name].pid

    def _all(self) -> list[Process]:
        return [process for wave in self._waves for process in wave]

    async def _launch_together(self, wave: Sequence[Process]) -> None:
        failures: list[Exception] = []
        try:
            async with asyncio.TaskGroup() as starting:
                for process in wave:
                    starting.create_task(self._launch(process))
        except* (StartFailed, OSError) as group:
            failures += group.exceptions
        # Not raised within `except*`: Pythons up to 3.11.3 would wrap it in a group of its own.
        if failures:
            raise StartFailed("\n".join(map(str, failures)))

    async def _launch(self, process: Process) -> None:
        self._tell(process.name, "starting")
        await self._start(process)
        self._keepers.append(asyncio.create_task(self._keep(process)))
        self._tell(process.name, "ready")

    async def _start(self, process: Process) -> None:
        child = self._children[process.name] = await Child.start(process)
        deadline = time.monotonic() + READY_SECONDS
        while not child.ready:
            if not child.alive:
                await child.end(0)
                raise StartFailed(f"{process.name} ended with status {child.status}:\n{tail(process.log)}")
            if time.monotonic() > deadline:
                await child.end()
                raise StartFailed(f"{process.name} was not ready after {READY_SECONDS} s:\n{tail(process.log)}")
            await asyncio.sleep(LOOK_SECONDS)

    async def _keep(self, process: Process) -> None:
        deaths: deque[float] = deque(maxlen=self._restarts)
        while True:
            child = self._children[process.name]
            while child.alive:  # noqa: ASYNC110 - see Child
                await asyncio.sleep(LOOK_SECONDS)
            await child.end(0)
            self._tell(process.name, f"ended with status {child.status}: restarting")
            while True:
                deaths.append(time.monotonic())
                if len(deaths) == self._restarts and deaths[-1] - deaths[0] < _RESTART_WINDOW:
                    self._give_up(f"{process.name} died {self._restarts} times in a minute:\n{tail(process.log)}")
                    return
                try:
                    await self._start(process)
                    break
                except StartFailed:
                    self._tell(process.name, "ended while it was starting: restarting")
                except OSError as error:
                    self._give_up(f"{process.name} cannot be started: {error}")
                    return
            self._tell(process.name, "ready")

    def _give_up(self, why: str) -> None:
        assert self._failed is not None
        if not self._failed.done():
            self._failed.set_exception(StartFailed(why))
            self._failed.exception()  # seen: whoever watches raises it, and who does not was told
        self._tell("supervisor", why)

    async def _stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._failed is not None and not self._failed.done():
            self._failed.cancel()
        for process in reversed(self._all()):
            child = self._children.get(process.name)
            if child is not None and child.alive:
                await child.end()
                self._tell(process.name, "stopped")


def check_ports(process: Process) -> None:
    """Raises `StartFailed` when another program listens where this process will."""
    for port in process.ports:
        if not is_free(port):
            raise StartFailed(
                f"port {port} for {process.name} is taken by another program; stop it, or choose other ports with "
                "--first-port. A run that was just killed needs some seconds to end"
            )


def is_free(port: int) -> bool:
    """Whether nobody listens on that port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, shortened."""
    try:
        text = log.read_bytes()[-20_000:].decode(errors="replace")
    except OSError as error:
        return f"({error})"
    return "\n".join(line[:400] for line in text.splitlines()[-lines:]) + f"\n(the whole log: {log})"
