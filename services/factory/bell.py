"""Tells whoever waits in this process that something changed, so that they look at once and not at the next poll."""

from __future__ import annotations

import asyncio

from services.kit.wait import happens


class Bell:
    """Rung after a commit.  A listener takes `next()` before it looks, so that no ring falls between look and wait."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> asyncio.Event:
        """The event of the next ring."""
        return self._event


async def rung(event: asyncio.Event, seconds: float) -> None:
    """Wait for a ring, at most so long: what another process committed rings no bell here."""
    await happens(event, seconds)
