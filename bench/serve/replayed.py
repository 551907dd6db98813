"""Answers of mixed batches, generated again alone: how many of their tokens come again.

Everything is asked at once, of the base and of as many adapters as there are slots, with prompts of many lengths; then
the service replays each answer, one at a time, from its trace.  Where a text differs once the rest of it counts as
different.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from bench.serve import load
from bench.serve.load import Ask, Rows
from bench.serve.size import Size
from bench.serve.world import Service, generate, world
from openledger.openlora.v1 import openlora_pb2

REPLAY_SECONDS = 330.0


async def measure(size: Size) -> Rows:
    """A row of each answer: its model, its tokens, and how many of them came again."""
    async with world(size) as around:
        adapters = await asyncio.to_thread(around.publisher.publish, size.some_slots)
        async with around.service("replayed") as service:
            models = ["base", *adapters]
            prompts = load.questions(size.replayed, "many lengths")
            asks = [
                Ask(prompt[: 60 + 37 * number % (len(prompt) - 60)], size.tokens, models[number % len(models)])
                for number, prompt in enumerate(prompts)
            ]
            responses = await asyncio.gather(*(_response(service, ask) for ask in asks))
            return [await _replay(service, ask, name) for ask, name in zip(asks, responses, strict=True)]


def figures(rows: Rows) -> dict[str, float]:
    """Parts of all tokens, and of all answers."""
    tokens, matched = (sum(row[key] for row in rows) for key in ("tokens", "matched"))
    whole = sum(row["matched"] == row["tokens"] for row in rows)
    return {
        "replay_match": round(matched / tokens, 5),
        "replay_answers_match": round(whole / len(rows), 4),
        "replay_answers": len(rows),
    }


async def _response(service: Service, ask: Ask) -> str:
    client = service.client()
    async with aclosing(client.stream(client.openlora.Generate, generate(ask), 900)) as chunks:
        names = [str(chunk.response) async for chunk in chunks]
    return names[-1]


async def _replay(service: Service, ask: Ask, response: str) -> dict[str, Any]:
    client = service.client()
    asked = openlora_pb2.ReplayAnswerRequest(name=response)
    told = await client.call(client.openlora.ReplayAnswer, asked, REPLAY_SECONDS)
    kind = "base" if ask.model == "base" else "adapter"
    return {"kind": kind, "tokens": told.tokens, "matched": told.matched}
