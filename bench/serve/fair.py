"""Two tenants, one of whom asks ten times as much: what each is served, and how long the small one waits for it.

`both`: both ask for more than half of what there is, so each should get half.  `alone` and `beside` take turns: the
small one asks for a fifth of what there is, by itself and while the other one asks for twice of it; it should hardly
wait longer then.  A tenant's tokens count while both were asking, and not from the queue that is left afterwards.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.serve import load
from bench.serve.adapters import capacity
from bench.serve.load import Ask, Rows, Told
from bench.serve.size import Size
from bench.serve.world import Service, world

SMALL, LARGE = 1, 2
TIMES = 10
QUEUE = {"max_queued": 128, "max_queued_per_tenant": 64, "max_queued_per_adapter": 64}
"""As in production, so that the large tenant is sent away as it would be."""
BOTH_SHARE, SMALL_SHARE = 0.8, 0.2
"""Of what can be answered: what the small tenant asks for."""


async def measure(size: Size) -> Rows:
    """Rows of kind both, alone and beside."""
    async with world(size) as around:
        models = await asyncio.to_thread(around.publisher.publish, 2)
        async with around.service("fair", **QUEUE) as service:
            can = await capacity(service, size, models[0])
            rows: Rows = []
            for number in range(size.rounds):
                both = await _asked(service, size, models, BOTH_SHARE * can, number, (SMALL, LARGE))
                rows.append({"kind": "both", "round": number, **_served(both, size.fair_seconds)})
                for kind, tenants in (("alone", (SMALL,)), ("beside", (SMALL, LARGE))):
                    told = await _asked(service, size, models, SMALL_SHARE * can, number, tenants)
                    rows.append({"kind": kind, "round": number, **_small(told)})
    return rows


def figures(rows: Rows) -> dict[str, float]:
    """Jain's index of tokens served; the small tenant's p99 beside the large one, divided by alone, over all rounds."""
    found = load.spread("jain", [row["jain"] for row in rows if row["kind"] == "both"])
    seconds = {
        kind: [s for row in rows if row["kind"] == kind for s in row["small_first_text"]]
        for kind in ("alone", "beside")
    }
    if not all(seconds.values()):
        return found
    p99 = {kind: float(np.percentile(those, 99)) for kind, those in seconds.items()}
    medians = {kind: float(np.median(those)) for kind, those in seconds.items()}
    return found | {
        "small_tenant_p99_ratio": round(p99["beside"] / p99["alone"], 3),
        "small_tenant_p50_ratio": round(medians["beside"] / medians["alone"], 3),
        "small_tenant_requests": len(seconds["beside"]),
    }


async def _asked(
    service: Service, size: Size, models: Sequence[str], rate: float, number: int, tenants: Sequence[int]
) -> list[Told]:
    """Both for as long; each tenant with an adapter of its own."""
    asks = []
    for tenant in tenants:
        own = rate * (TIMES if tenant == LARGE else 1)
        count = max(2, round(own * size.fair_seconds))
        # The small tenant's arrivals do not depend on who else is there.
        times = load.poisson(own, count, size.seed + 10 * number + tenant)
        prompts = load.questions(count, f"round {number} of tenant {tenant} of {len(tenants)}")
        asks += [Ask(p, size.tokens, models[tenant - 1], at, tenant) for p, at in zip(prompts, times, strict=True)]
    return await load.run(service, asks)


def _served(tolds: Sequence[Told], seconds: float) -> dict[str, Any]:
    tokens: Counter[int] = Counter()
    for told in tolds:
        if not told.code and told.end <= seconds:
            tokens[told.ask.tenant] += told.tokens
    shares = [tokens[tenant] for tenant in (SMALL, LARGE)]
    if not any(shares):
        raise RuntimeError(f"nothing was answered within {seconds} s: {Counter(told.code for told in tolds)}")
    asked = Counter(told.ask.tenant for told in tolds)
    away = Counter(told.ask.tenant for told in tolds if told.code)
    return {
        "jain": round(load.jain(shares), 4),
        "tokens": dict(zip(("small", "large"), shares, strict=True)),
        "asked": [asked[SMALL], asked[LARGE]],
        "sent_away": [away[SMALL], away[LARGE]],
    }


def _small(tolds: Sequence[Told]) -> dict[str, Any]:
    own = [told for told in tolds if told.ask.tenant == SMALL]
    return {
        "asked": len(own),
        "sent_away": sum(bool(told.code) for told in own),
        "small_first_text": [round(told.first, 4) for told in own if told.pieces],
        "large_asked": len(tolds) - len(own),
    }
