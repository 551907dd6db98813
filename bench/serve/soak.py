"""At saturation for a quarter of an hour: nothing grows, and nothing is left over.

More is asked than can be answered, of more adapters than memory holds, by several payers, some of whom hang up.
Memory, files and threads are read from outside.  What they were when everybody had gone, after a first load, is
compared with what they are when everybody has gone after the long one; then the service ends, and the books are
compared.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.serve import load
from bench.serve.adapters import capacity
from bench.serve.load import Ask, Rows
from bench.serve.processes import measured
from bench.serve.size import Size
from bench.serve.world import Service, World, world

OVERLOAD = 1.3
TENANTS = 4
HANG_UPS = 0.05
QUEUED = 64
IDLE_SECONDS = 120.0
SETTLED = 0.25
"""The part of the time that is not in the slope: caches fill."""


async def measure(size: Size) -> Rows:
    """Samples, and a row of kind end."""
    async with world(size) as around:
        models = await asyncio.to_thread(around.publisher.publish, size.some)
        in_memory = max(size.some_slots, size.some // 2)
        async with around.service("soak", max_queued=QUEUED, max_adapters=in_memory) as service:
            rate = OVERLOAD * await capacity(service, size, models[0])
            await load.run(service, _asks(size, models, rate, min(60.0, size.soak_seconds / 4), 1))
            before = await _idle(service)
            rows = await _samples(service, size, _asks(size, models, rate, size.soak_seconds, 2))
            after = await _idle(service)
            traces = await service.traces()
        fees = sum(trace.fee for trace in traces)
        return [*rows, _end(around, size, before, after, in_memory, fees, len(traces))]


def figures(rows: Rows) -> dict[str, float]:
    """Slopes in MB an hour; what is left over when everybody has gone."""
    end = next(row for row in rows if row["kind"] == "end")
    samples = [row for row in rows if row["kind"] == "sample"]
    keys = ("minutes", "answers", "files_grown", "threads_grown", "left_over", "leases_open", "charged_wrong")
    found: dict[str, float] = {f"soak_{key}": end[key] for key in (*keys, "adapters_over")}
    for who in ("service", "engine"):
        found[f"soak_{who}_mb_per_hour"] = slope(samples, f"{who}_mb")
        found[f"soak_{who}_mb"] = samples[-1][f"{who}_mb"]
    return found


def slope(samples: Rows, key: str) -> float:
    """Least squares, an hour, over all but the first samples."""
    late = samples[int(SETTLED * len(samples)) :]
    if len(late) < 2:
        return 0.0
    hours = np.array([row["seconds"] for row in late]) / 3600
    return round(float(np.polyfit(hours, [row[key] for row in late], 1)[0]), 2)


async def _samples(service: Service, size: Size, asks: Sequence[Ask]) -> Rows:
    begun, rows = time.monotonic(), []
    loading = asyncio.create_task(load.run(service, asks))
    while not loading.done():
        await asyncio.wait({loading}, timeout=size.sample_seconds)
        metrics = await service.metrics()
        rows.append(
            {
                "kind": "sample",
                "seconds": round(time.monotonic() - begun, 1),
                **await asyncio.to_thread(measured, service.pid),
                **{key: metrics[key] for key in ("running", "queued", "leases", "trace_log_high_watermark")},
            }
        )
    return [*rows, {"kind": "load", **load.summary(await loading)}]


async def _idle(service: Service) -> dict[str, float]:
    """What there is when nobody asks."""
    deadline = time.monotonic() + IDLE_SECONDS
    while True:
        metrics = await service.metrics()
        left = sum(metrics[key] for key in ("running", "queued", "rpcs_running"))
        if not left or time.monotonic() > deadline:
            return {**measured(service.pid), "left_over": left, "adapters": metrics.get("adapters:ready", 0.0)}
        await asyncio.sleep(0.2)


def _end(
    around: World,
    size: Size,
    before: dict[str, float],
    after: dict[str, float],
    in_memory: int,
    fees: int,
    answers: int,
) -> dict[str, Any]:
    return {
        "kind": "end",
        "minutes": round(size.soak_seconds / 60, 1),
        "answers": answers,
        "before": before,
        "after": after,
        "files_grown": after["files"] - before["files"],
        "threads_grown": after["threads"] - before["threads"],
        "left_over": after["left_over"],
        "adapters_over": max(0.0, after["adapters"] - in_memory),
        "leases_open": len(around.ledger.open),
        "charged_wrong": around.ledger.charged() - fees,
    }


def _asks(size: Size, models: Sequence[str], rate: float, seconds: float, seed: int) -> list[Ask]:
    count, chance = max(2, round(rate * seconds)), random.Random(seed)
    times, drawn = load.poisson(rate, count, size.seed + seed), load.zipf(models, count, size.seed + seed)
    asks = [
        Ask(prompt, size.tokens, model, at, tenant=number % TENANTS)
        for number, (prompt, model, at) in enumerate(
            zip(load.questions(count, f"soak {seed}"), drawn, times, strict=True)
        )
    ]
    return [replace(ask, leaves=2) if chance.random() < HANG_UPS else ask for ask in asks]
