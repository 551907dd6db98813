"""A line of things, in which the next is the one whose askers have waited longest, all of them together.

So what many want comes soon, and what one wants comes before what came much later.  Knows not what is done.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Line:
    """At most `at_once` have their turn.

    wanted: by how many a thing is wanted, asked whenever a turn is free.  What nobody wants any more has its turn at
    once, so that it can leave.
    """

    def __init__(
        self, at_once: int, wanted: Callable[[str], int | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._free, self._wanted, self._clock = at_once, wanted, clock
        self._waiting: dict[str, tuple[float, asyncio.Future[None]]] = {}
        self.at_work: set[str] = set()
        """What has its turn."""

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """A turn for what is not in line yet."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting[name] = self._clock(), turn
        self.look()
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.pop(name, None)
            if turn.done() and not turn.cancelled():  # it was given, and nobody is there to take it
                self._give_back(name)
            raise
        try:
            yield
        finally:
            self._give_back(name)

    def _give_back(self, name: str) -> None:
        self._free += 1
        self.at_work.discard(name)
        self.look()

    def look(self) -> None:
        """Give the turns that are free; to be called when what is wanted has changed."""
        while self._waiting:
            now = self._clock()
            # Who was cancelled is done already, and takes itself out of the line in a moment.
            waited = {name: self._waited(name, now) for name, (_, turn) in self._waiting.items() if not turn.done()}
            name = max(waited, key=waited.__getitem__, default="")
            least = 0.0 if self._free > 0 else math.inf  # what only leaves needs no free turn
            if waited.get(name, -1.0) < least:
                return
            self._waiting.pop(name)[1].set_result(None)
            self._free -= 1
            self.at_work.add(name)

    def _waited(self, name: str, now: float) -> float:
        """Seconds, of all askers together; below zero: not now."""
        askers = self._wanted(name)
        if askers is None:
            return -1.0
        return askers * (now - self._waiting[name][0]) if askers else math.inf
