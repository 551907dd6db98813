"""Waiting for an event, at most so long."""

from __future__ import annotations

import asyncio


async def happens(event: asyncio.Event, seconds: float) -> bool:
    """Whether it happens in that time.

    Not by `asyncio.wait_for`, which until Python 3.12 forgets a cancellation that comes in the moment of the event:
    work that was told to stop would go on, and who waits for its end would wait for ever.
    """
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
