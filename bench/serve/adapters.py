"""Many adapters on one base: against one adapter, against vLLM's own server, and how long the first text takes.

Loads are open: requests come at random, at one and a half times the rate that one adapter was answered at, so that
every arm has all it can do; times to the first text of many adapters come from a load of seven tenths of what they were
answered at.  Every adapter of the comparison was used once before the clock starts; what the first use of one takes is
measured by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from bench.serve import load
from bench.serve.load import Ask, Rows, Target
from bench.serve.processes import measured
from bench.serve.size import Size
from bench.serve.stock import stock
from bench.serve.world import Service, World, world

ONE, SOME, STOCK, MANY = "one adapter", "some adapters", "vllm serve, some adapters", "many adapters"
TENANTS = 8
"""Who ask alike: one by itself may not have all of the memory's places."""
OVERLOAD, STEADY = 1.5, 0.7
"""Rates of arrival, of what can be answered."""


async def measure(size: Size) -> Rows:
    """Rows of kind some, many, steady, cold and published."""
    async with world(size) as around:
        models = await asyncio.to_thread(around.publisher.publish, size.many)
        about = {"adapter_bytes": around.publisher.bytes, "published": size.many}
        return [{**row, **about} for row in [*await _some(around, models[: size.some]), *await _many(around, models)]]


def figures(rows: Rows) -> dict[str, float]:
    """Ratios are medians over rounds; seconds of the steady load; a hit is an adapter that was in memory when asked."""
    found = load.spread("adapters64_ratio", load.ratios(_of(rows, "some"), SOME, ONE))
    found |= load.spread("vs_vllm_serve", load.ratios(_of(rows, "some"), SOME, STOCK))
    found |= load.spread("adapters1000_ratio", load.ratios(_of(rows, "many"), MANY, ONE))
    for row in _of(rows, "steady"):
        found |= {
            "adapters1000_tokens_per_s": row["tokens_per_s"],
            "adapters1000_first_text_p50_s": row["first_text_s"]["p50"],
            "adapters1000_first_text_p99_s": row["first_text_s"]["p99"],
            "adapters1000_hit_rate": row["hit_rate"],
            "adapters1000_memory_mb": row["service_mb"] + row["engine_mb"],
        }
    for row in _of(rows, "cold"):
        found["cold_warm_p95"] = round(row["cold_s"]["p95"] / row["warm_s"]["p95"], 3)
    for row in _of(rows, "published"):
        found["publish_to_first_token_s"] = row["seconds"]["p50"]
    return found


async def _some(around: World, models: Sequence[str]) -> Rows:
    size = around.size
    async with around.service("some") as service, stock(around, models, size.some_slots) as server:
        rate = OVERLOAD * await capacity(service, size, models[0])
        for target in (service, server):
            await load.run(target, _first_uses(models))

        def overloaded(target: Target, those: Sequence[str]) -> Any:
            async def arm(number: int) -> dict[str, Any]:
                asks = _asks(size, those, size.some_requests, f"round {number}", rate, seed=number)
                return load.summary(await load.run(target, asks))

            return arm

        arms = {
            ONE: overloaded(service, models[:1]),
            SOME: overloaded(service, models),
            STOCK: overloaded(server, models),
        }
        rows = await load.in_turns(size.rounds, arms)
    return [{"kind": "some", "adapters": len(models), "slots": size.some_slots, **row} for row in rows]


async def _many(around: World, models: Sequence[str]) -> Rows:
    size, slots = around.size, {"slots": around.size.many_slots, "in_memory": around.size.in_memory}
    settings = {"max_active_adapters": size.many_slots, "max_adapters": size.in_memory}
    async with around.service("many", **settings) as service:
        rate = OVERLOAD * await capacity(service, size, models[0])
        await load.run(service, _first_uses(models[: size.in_memory]))  # memory is full

        def overloaded(those: Sequence[str]) -> Any:
            async def arm(number: int) -> dict[str, Any]:
                asks = _asks(size, those, size.some_requests, f"round {number}", rate, seed=number)
                return load.summary(await load.run(service, asks))

            return arm

        rows: Rows = [
            {"kind": "many", **row}
            for row in await load.in_turns(size.rounds, {ONE: overloaded(models[:1]), MANY: overloaded(models)})
        ]
        served = [row["answered"] / row["seconds"] for row in rows if row["arm"] == MANY]
        rows.append(await _steady(service, size, models, STEADY * sum(served) / len(served)))
        rows.append(await _cold(around, service))
        rows.append(await _published(around, service))
    return [{**row, **slots} for row in rows]


async def capacity(service: Service, size: Size, model: str) -> float:
    """Answers a second, with one model and everything asked at once; the second time, for the first one warms up."""
    for about in ("warming up", "capacity"):
        asks = [Ask(prompt, size.tokens, model) for prompt in load.questions(4 * size.running, about)]
        told = load.summary(await load.run(service, asks))
    return float(told["answered"] / told["seconds"])


async def _steady(service: Service, size: Size, models: Sequence[str], rate: float) -> dict[str, Any]:
    before = await service.metrics()
    told = load.summary(await load.run(service, _asks(size, models, size.steady_requests, "steady", rate, seed=7)))
    after = await service.metrics()
    changed = {
        key: after[f"adapter_{key}_total"] - before[f"adapter_{key}_total"] for key in ("hits", "loads", "evictions")
    }
    hit_rate = round(changed["hits"] / told["answered"], 4)
    return {"kind": "steady", "rate": rate, **told, **changed, "hit_rate": hit_rate, **measured(service.pid)}


async def _cold(around: World, service: Service) -> dict[str, Any]:
    """Adapters that nobody asked for yet, one at a time, each twice."""
    size = around.size
    models = await asyncio.to_thread(around.publisher.publish, size.cold)
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    for number, model in enumerate(models):
        for use, those in seconds.items():
            [told] = await load.run(service, [Ask(load.questions(1, f"{use} {number}")[0], size.tokens, model)])
            those.append(_answered(told).first)
    return {"kind": "cold", "adapters": len(models)} | {f"{use}_s": load.quantiles(s) for use, s in seconds.items()}


async def _published(around: World, service: Service) -> dict[str, Any]:
    """From the beginning of publishing an adapter to the first text that it gives."""
    seconds = []
    for number in range(around.size.cold):
        begun = time.monotonic()
        [model] = await asyncio.to_thread(around.publisher.publish, 1)
        taken = time.monotonic() - begun
        [told] = await load.run(service, [Ask(load.questions(1, f"new {number}")[0], around.size.tokens, model)])
        seconds.append(taken + _answered(told).first)
    return {"kind": "published", "adapters": len(seconds), "seconds": load.quantiles(seconds)}


def _answered(told: load.Told) -> load.Told:
    if told.code or not told.pieces:
        raise RuntimeError(f"a new adapter did not answer: {told.code or 'no text'}")
    return told


def _first_uses(models: Sequence[str]) -> list[Ask]:
    """One token of each."""
    prompts = load.questions(len(models), "a first use")
    return [
        Ask(prompt, 1, model, tenant=number % TENANTS)
        for number, (prompt, model) in enumerate(zip(prompts, models, strict=True))
    ]


def _asks(size: Size, models: Sequence[str], count: int, about: str, rate: float, *, seed: int) -> list[Ask]:
    """Requests for models by Zipf's law."""
    drawn, times = load.zipf(models, count, size.seed + seed), load.poisson(rate, count, size.seed + seed)
    prompts = load.questions(count, about)
    return [
        Ask(prompt, size.tokens, model, at, tenant=number % TENANTS)
        for number, (prompt, model, at) in enumerate(zip(prompts, drawn, times, strict=True))
    ]


def _of(rows: Rows, kind: str) -> Rows:
    return [row for row in rows if row["kind"] == kind]
