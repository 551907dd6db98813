"""Endless work that goes on whatever comes in its way: what it raises is logged and counted, and it begins again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.kit import logs
from services.kit.metrics import Metrics

_PAUSE_FIRST, _PAUSE_MOST = 0.2, 10.0


def every(seconds: float, work: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """The same work again and again, with so long a rest after each time."""

    async def run() -> None:
        while True:
            await work()
            await asyncio.sleep(seconds)

    return run


async def kept_going(metrics: Metrics, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Begin the work again each time that it raises, later each time; returns when it does."""
    log, pause, clock = logs.logger(metrics.service), _PAUSE_FIRST, asyncio.get_running_loop().time
    while True:
        started = clock()
        try:
            await work()
            return
        except Exception:
            metrics.background_failures.labels(name).inc()
            log.exception("background work failed", task=name, again_in=pause)
        if clock() - started > _PAUSE_MOST:
            pause = _PAUSE_FIRST
        await asyncio.sleep(pause)
        pause = min(_PAUSE_MOST, pause * 2)
