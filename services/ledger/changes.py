"""Waiting for something in the database to become so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.kit.wait import happens

T = TypeVar("T")

_POLL_SECONDS = 0.25


class Changes:
    """Told by whoever changes something, asked by whoever waits for it.

    What waits also looks by itself now and then: another process may have made the change.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Something changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, look: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
        """What `look` gives, as soon as it gives something; None when the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            changed = self._changed
            found = await look()
            left = deadline - time.monotonic()
            if found is not None or left <= 0:
                return found
            await happens(changed, min(left, _POLL_SECONDS))

    async def next(self, seconds: float) -> None:
        """Until something changes, or the time is over."""
        await happens(self._changed, seconds)
