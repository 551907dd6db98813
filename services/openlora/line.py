"""A line in which the next one is what is wanted most, and of equals what came first.  Knows not what is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Line:
    """At most `at_once` have their turn.  wanted: by how many a thing is wanted, asked whenever a turn is free."""

    def __init__(self, at_once: int, wanted: Callable[[str], int]) -> None:
        self._free, self._wanted = at_once, wanted
        self._waiting: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """A turn for what is not in line yet."""
        turn = self._waiting[name] = asyncio.get_running_loop().create_future()
        self._next()
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.pop(name, None)
            if turn.done() and not turn.cancelled():  # it was given, and nobody is there to take it
                self._give_back()
            raise
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        self._free += 1
        self._next()

    def _next(self) -> None:
        while self._free and self._waiting:
            name = max(self._waiting, key=self._wanted)
            self._waiting.pop(name).set_result(None)
            self._free -= 1
