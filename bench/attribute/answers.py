"""Answers of the real engine, and the CPU time that they took: of this process and all its children.

Start and loading are over when the clock starts; what the engine's process does while it waits is counted.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.demo import family
from openledger import base_models
from openledger.adapters import materialise
from openledger.artifacts import ArtifactStore
from services.openlora.engine import AdapterRef, ChatMessage, Engine, EngineRequest, Sampling, open_engine

ABOUT = (
    "ataxia", "a fever", "the liver", "insulin", "a cataract", "anaemia", "the retina", "epilepsy",
    "a tremor", "the spleen", "asthma", "a tendon", "the cornea", "albinism", "a seizure", "the thyroid",
)  # fmt: skip
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Answer:
    """Token ids of a prompt and of what was answered."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


def questions(count: int) -> list[str]:
    """That many questions, none of which was asked before: the engine remembers prompts."""
    numbers = itertools.islice(_NUMBERS, count)
    return [f"What is {ABOUT[n % len(ABOUT)]}? This is question {n}, of a patient." for n in numbers]


@asynccontextmanager
async def engine(kind: str, base: str) -> AsyncIterator[Engine]:
    """An engine as OpenLoRA opens it unless told otherwise."""
    from services.openlora.config import OpenLoRAConfig

    settings = OpenLoRAConfig.model_construct(ledger="").engine_settings
    opened = await open_engine(kind, await asyncio.to_thread(base_models.locate, base), settings)
    try:
        yield opened
    finally:
        await opened.close()


def adapter(store: ArtifactStore, revision: str, folder: Path) -> AdapterRef:
    """A published revision as the engine takes it."""
    digest = revision.rpartition("/")[2]
    return AdapterRef(digest, materialise(store, digest, folder))


async def generate(
    engine: Engine, adapter: AdapterRef, count: int, tokens: int, at_once: int
) -> tuple[list[Answer], float]:
    """That many greedy answers of at most `tokens` tokens, `at_once` at a time, and the CPU seconds of them all."""
    turns, begun = asyncio.Semaphore(at_once), cpu_seconds()

    async def one(question: str) -> Answer:
        async with turns:
            prompt = engine.tokenize_chat([ChatMessage("user", question)])
            request = EngineRequest(f"bench-{next(_NUMBERS)}", prompt, Sampling(tokens), adapter)
            async with aclosing(engine.generate(request)) as deltas:
                return Answer(prompt, tuple([token async for delta in deltas for token in delta.token_ids]))

    answers = await asyncio.gather(*map(one, questions(count)))
    return answers, cpu_seconds() - begun


def cpu_seconds() -> float:
    """User and system time of this process and its living descendants, in steps of a clock tick."""
    total = 0
    for pid in family(os.getpid()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
