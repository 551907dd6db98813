"""Endless work goes on whatever it raises."""

from __future__ import annotations

import asyncio

import pytest

from services.kit import background
from services.kit.background import kept_going
from services.kit.metrics import Metrics


async def test_what_raises_begins_again_and_is_counted_until_it_ends(monkeypatch):
    monkeypatch.setattr(background, "_PAUSE_FIRST", 0.0)
    metrics, begun = Metrics("test"), []

    async def work() -> None:
        begun.append(1)
        if len(begun) < 3:
            raise RuntimeError("not yet")

    await kept_going(metrics, "work", work)
    assert len(begun) == 3
    count = metrics.registry.get_sample_value("openledger_test_background_failures_total", {"task": "work"})
    assert count == 2


async def test_what_is_cancelled_is_not_begun_again():
    metrics, begun = Metrics("test"), []

    async def work() -> None:
        begun.append(1)
        await asyncio.Event().wait()

    task = asyncio.create_task(kept_going(metrics, "work", work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(begun) == 1
