"""The service against vLLM alone, and against itself without a trace log: the same requests, taking turns.

Both sides of a pair are up at once, on the same cores, and are asked one after the other, the same requests in a round,
other ones in every round (nothing is in a prefix cache).  What an arm is worth is tokens a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from bench.serve import load
from bench.serve.bare import Numbers
from bench.serve.load import Ask, Rows
from bench.serve.processes import ended
from bench.serve.size import Size
from bench.serve.world import CACHE_BYTES, MAX_RANK, MOST_TOKENS, PROMPT_TOKENS, ROOT, Service, World, world
from openledger.adapters import materialise

SERVICE, TUNED, UNTRACED = "service", "service, one adapter", "service, tracing off"
VLLM, VLLM_LORA = "vLLM", "vLLM, one adapter"
Measure = Callable[[int], Awaitable[dict[str, Any]]]


async def measure(size: Size) -> Rows:
    """Rows of each pair, its rounds in turns."""
    async with world(size) as around:
        [adapter] = await asyncio.to_thread(around.publisher.publish, 1)
        # vLLM on both sides, whatever the others run on.
        async with around.service("arms", engine="vllm", max_adapters=size.some_slots) as service:
            return [
                *await _pair(size, "base", SERVICE, _asked(service, size, "base"), VLLM, bare(around, "")),
                *await _pair(size, "adapter", TUNED, _asked(service, size, adapter), VLLM_LORA, bare(around, adapter)),
                *await _pair(size, "tracing", SERVICE, _asked(service, size, "base"), UNTRACED, _untraced(around)),
            ]


def figures(rows: Rows) -> dict[str, float]:
    """Ratios within one run: the median over rounds, the least, the most."""
    found: dict[str, float] = {}
    for name, pair, one, other in (
        ("vs_vllm", "base", SERVICE, VLLM),
        ("vs_vllm_adapter", "adapter", TUNED, VLLM_LORA),
        ("tracing_ratio", "tracing", SERVICE, UNTRACED),
    ):
        found |= load.spread(name, load.ratios([row for row in rows if row["pair"] == pair], one, other))
    return found


async def _pair(size: Size, pair: str, one: str, measure_one: Measure, other: str, opened: Any) -> Rows:
    rounds = size.tracing_rounds if pair == "tracing" else size.rounds
    async with opened as measure_other:
        for warm_up in (measure_one, measure_other):
            await warm_up(-1)
        rows = await load.in_turns(rounds, {one: measure_one, other: measure_other})
    return [{"kind": "pair", "pair": pair, **row} for row in rows]


def _asked(service: Service, size: Size, model: str) -> Measure:
    async def measure(number: int) -> dict[str, Any]:
        asks = [Ask(prompt, size.tokens, model) for prompt in _prompts(size, number)]
        return load.summary(await load.run(service, asks))

    return measure


def _prompts(size: Size, number: int) -> list[str]:
    return load.questions(size.requests, f"round {number}")


@asynccontextmanager
async def _untraced(around: World) -> AsyncIterator[Measure]:
    program = ("-m", "bench.serve.untraced")
    settings = {"engine": "vllm", "max_adapters": around.size.some_slots}
    async with around.service("untraced", program, **settings) as service:
        yield _asked(service, around.size, "base")


@asynccontextmanager
async def bare(around: World, adapter: str) -> AsyncIterator[Measure]:
    """Opens vLLM by itself, with the numbers that the service has; adapter: a revision, or empty for no LoRA at all."""
    from services.openlora.engine_vllm_start import ENVIRONMENT, ITS_ENVIRONMENT

    size, digest = around.size, adapter.rpartition("/")[2]
    folder = str(materialise(around.artifacts, digest, around.folder / "bare")) if adapter else ""
    context = PROMPT_TOKENS + MOST_TOKENS
    ranks = MAX_RANK if adapter else 0
    numbers = Numbers(around.base, context, size.running, CACHE_BYTES, size.some_slots, size.dtype, ranks)
    with (around.folder / "bare.log").open("ab") as said:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.serve.bare", json.dumps(asdict(numbers)), cwd=ROOT, stderr=said,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**ITS_ENVIRONMENT, **os.environ, **ENVIRONMENT},
        )  # fmt: skip
    given, told = child.stdin, child.stdout
    assert given is not None
    assert told is not None

    async def said_next() -> dict[str, Any]:
        while not (line := await asyncio.wait_for(told.readline(), 900)).startswith(b"{"):
            if not line:
                raise RuntimeError(f"vLLM alone has ended: {(around.folder / 'bare.log').read_text()[-2000:]}")
        return dict(json.loads(line))

    async def measure(number: int) -> dict[str, Any]:
        wanted = {"prompts": _prompts(size, number), "tokens": size.tokens, "adapter": folder}
        given.write(json.dumps(wanted).encode() + b"\n")
        row = await said_next()
        return {"requests": size.requests, "tokens_per_s": round(row["tokens"] / row["seconds"], 2), **row}

    try:
        await said_next()
        yield measure
    finally:
        await ended(child)
