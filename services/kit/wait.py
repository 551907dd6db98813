"""Waiting for an event, at most so long; and for the end of a task that was told to stop, of a thread, or of work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def stop(task: asyncio.Task[Any]) -> None:
    """End a task and wait until it has, also when we are to end meanwhile; what it raised stays in it.

    A second cancellation would take us away from its end, and what it holds must not outlive whoever started it.
    """
    task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def to_its_end(function: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
    """Run a function in a thread, and wait for its end also when we are to end meanwhile.

    A thread cannot be stopped, and whoever clears up after us must find all that it left.
    """
    return await whole(asyncio.to_thread(function, *arguments, **more))


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Do the work, and wait for its end also when we are to end meanwhile: it is never broken off between two steps."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


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
