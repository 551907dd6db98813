"""Who sends: of all processes that share a database and a sender's key, one at a time.

The pen is lent for some seconds and renewed long before they are over; who falls silent loses it to another.  A process
that was paused may wake up and go on as if it had it still: so each turn has a fence, and everything that is written
for the chain's sake is written after `check` in the same transaction, which knows better.  What was only sent does no
harm: it is bytes that are stored, and whoever has the pen sends the same.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from services.kit import logs
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.kit.wait import stop
from services.ledger.store import sender
from services.ledger.store.sender import LostPen

T = TypeVar("T")


class Pen:
    """One process's claim to send for an account.  Run `run` for ever; run work that needs it through `only`.

    `holder` names this process and its earlier lives, but nobody else: it gets its own pen back at once.
    """

    def __init__(self, database: Database, address: str, holder: str, metrics: Metrics, *, seconds: float) -> None:
        self._database, self._address, self._holder, self._seconds = database, address, holder, seconds
        self._fence: int | None = None
        self._changed = asyncio.Event()
        self._log = logs.logger("ledger")
        self._gauge = metrics.gauge("sending", "1 where this process is the one that sends")

    @property
    def held(self) -> bool:
        """Whether it is this process's turn, as far as it knows."""
        return self._fence is not None

    @property
    def address(self) -> str:
        """Whose pen it is."""
        return self._address

    @property
    def fence(self) -> int:
        """Of this turn.  Raises `LostPen`."""
        if self._fence is None:
            raise LostPen(f"it is not this process's turn to send for {self._address}")
        return self._fence

    def take(self) -> bool:
        """Take it if it is free; says whether it was."""
        self._set(self._database.write_now(self._take))
        return self.held

    def drop(self) -> None:
        """Let another have it, without waiting until the time is over."""
        if self._fence is not None:
            fence = self._fence
            self._set(None)
            self._database.write_now(lambda c: sender.drop_pen(c, self._address, fence))

    def check(self, connection: Connection) -> None:
        """That it is still this process's turn, until this transaction ends.  Raises `LostPen`."""
        sender.check_pen(connection, self._address, self.fence)

    def checked(self, change: Callable[[Connection], T]) -> Callable[[Connection], T]:
        """That change, made only if it is still this process's turn.  It raises `LostPen`."""

        def write(connection: Connection) -> T:
            self.check(connection)
            return change(connection)

        return write

    async def run(self) -> None:
        """Take it, and keep it, for ever."""
        while True:
            await self.step()
            await asyncio.sleep(self._seconds / 4)

    async def step(self) -> None:
        """Keep it, or take it if it is free."""
        if self._fence is None:
            self._set(await self._database.write(self._take))
            return
        fence = self._fence
        try:
            await self._database.write(lambda c: sender.keep_pen(c, self._address, fence, self._seconds))
        except LostPen as lost:
            self._log.warning("another process sends now", error=str(lost))
            self._set(None)

    def only(self, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """That endless work, done while it is this process's turn."""

        async def run() -> None:
            while True:
                await self._until(held=True)
                working = asyncio.create_task(_do(work))
                lost = asyncio.create_task(self._until(held=False))
                try:
                    await asyncio.wait({working, lost}, return_when=asyncio.FIRST_COMPLETED)
                    if working.done():
                        await self._ended(working)
                finally:
                    await stop(lost)
                    await stop(working)

        return run

    async def _ended(self, working: asyncio.Task[None]) -> None:
        """Raises what the work raised, unless it found out that it is another's turn."""
        try:
            await working
        except LostPen:
            await self.step()

    async def _until(self, *, held: bool) -> None:
        while self.held is not held:
            await self._changed.wait()

    def _take(self, connection: Connection) -> int | None:
        return sender.take_pen(connection, self._address, self._holder, self._seconds)

    def _set(self, fence: int | None) -> None:
        if (fence is None) is not (self._fence is None):
            self._log.info("sending" if fence is not None else "not sending", fence=fence)
        self._fence = fence
        self._gauge.set(fence is not None)
        self._changed.set()
        self._changed = asyncio.Event()


async def _do(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def holder(folder: Path) -> str:
    """The name of the one process that has this folder: made once, kept there."""
    path = folder / "replica"
    try:
        return path.read_text()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(f"{os.uname().nodename}-{uuid.uuid4().hex}")
        partial.replace(path)
        return path.read_text()
