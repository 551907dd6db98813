"""An open load: requests are sent when their time has come, whoever is still being answered; and what became of them.

Arrivals are a Poisson process and models are drawn by Zipf's law, both from a seed.  Times are counted from the moment
at which a request was to be sent, so that a server that cannot keep up is not spared (no coordinated omission).  What
is asked, and over what wire, is the target's.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Rows = list[dict[str, Any]]

ABOUT = (
    "ataxia", "a fever", "the liver", "insulin", "a cataract", "anaemia", "the retina", "epilepsy",
    "a tremor", "the spleen", "asthma", "a tendon", "the cornea", "albinism", "a seizure", "the thyroid",
)  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """A request, sent `at` seconds after the beginning."""

    prompt: str
    tokens: int
    """The most that its answer may have."""
    model: str = "base"
    at: float = 0.0
    tenant: int = 0
    leaves: int = 0
    """After so many pieces of text its asker hangs up; 0: never."""


@dataclass
class Told:
    """What became of a request; times in seconds after the beginning."""

    ask: Ask
    pieces: list[float] = field(default_factory=list)
    """When each piece of text came."""
    end: float = 0.0
    tokens_in: int = 0
    tokens: int = 0
    code: str = ""
    """Why there is no answer; empty where there is one."""

    @property
    def first(self) -> float:
        """Seconds to the first text."""
        return self.pieces[0] - self.ask.at


class RefusedError(Exception):
    """There is no answer; says why in a word."""


class Target(Protocol):
    """What is asked."""

    async def answer(self, ask: Ask, heard: Callable[[], None]) -> tuple[int, int]:
        """Tokens of prompt and answer; `heard` is called for each piece of text.  Raises `RefusedError`."""


async def run(target: Target, asks: Sequence[Ask]) -> list[Told]:
    """Send all of them in their time, and wait for their ends."""
    clock = asyncio.get_running_loop().time
    begun = clock()

    async def one(ask: Ask) -> Told:
        told = Told(ask)
        await asyncio.sleep(begun + ask.at - clock())
        try:
            told.tokens_in, told.tokens = await target.answer(ask, lambda: told.pieces.append(clock() - begun))
        except RefusedError as refused:
            told.code = str(refused)
        told.end = clock() - begun
        return told

    return list(await asyncio.gather(*map(one, asks)))


async def in_turns(rounds: int, arms: Mapping[str, Callable[[int], Awaitable[dict[str, Any]]]]) -> Rows:
    """Each arm once a round, one after the other, so that what slows the machine down slows all of them."""
    rows = []
    for number in range(rounds):
        for name, measure in arms.items():
            rows.append({"arm": name, "round": number, **await measure(number)})
    return rows


def questions(count: int, about: str) -> list[str]:
    """So many questions of equal length that differ from their beginning on, and from those about anything else."""
    return [
        f"Question {number:04} of {about}: somebody asks a doctor what {ABOUT[number % len(ABOUT)]} is, how it comes "
        "about, who has it most often, and what can be done. The doctor takes some time and answers in plain words:"
        for number in range(count)
    ]


def poisson(rate: float, count: int, seed: int) -> list[float]:
    """Times of so many arrivals at that rate a second."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return np.cumsum(gaps).tolist()


def zipf(models: Sequence[str], count: int, seed: int, exponent: float = 1.0) -> list[str]:
    """Draws: the n-th model with a probability in proportion to n ** -exponent."""
    weights = np.arange(1, len(models) + 1, dtype=float) ** -exponent
    drawn = np.random.default_rng(seed).choice(len(models), count, p=weights / weights.sum())
    return [models[number] for number in drawn]


def summary(tolds: Sequence[Told]) -> dict[str, Any]:
    """Of one load: what was answered, how fast, and what was not."""
    answered = [told for told in tolds if not told.code]
    if not answered:
        raise RuntimeError(f"nothing was answered: {Counter(told.code for told in tolds)}")
    seconds = max(told.end for told in answered) - min(told.ask.at for told in tolds)
    tokens = sum(told.tokens for told in answered)
    gaps = [later - sooner for told in answered for sooner, later in itertools.pairwise(told.pieces)]
    return {
        "requests": len(tolds),
        "answered": len(answered),
        "not_answered": dict(Counter(told.code for told in tolds if told.code)),
        "tokens_in": sum(told.tokens_in for told in answered),
        "tokens": tokens,
        "seconds": round(seconds, 3),
        "tokens_per_s": round(tokens / seconds, 2),
        "first_text_s": quantiles([told.first for told in answered if told.pieces]),
        "between_texts_s": quantiles(gaps),
    }


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99; nothing of nothing."""
    return {f"p{q}": round(float(np.percentile(seconds, q)), 4) for q in (50, 95, 99)} if len(seconds) else {}


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has everything."""
    return sum(shares) ** 2 / len(shares) / sum(share**2 for share in shares)


def ratios(rows: Rows, one: str, other: str, key: str = "tokens_per_s") -> list[float]:
    """Of each round, one arm's figure divided by the other's."""
    found = [{row["round"]: row[key] for row in rows if row["arm"] == arm} for arm in (one, other)]
    return [found[0][number] / found[1][number] for number in sorted(found[0].keys() & found[1].keys())]


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """A figure by its name, the median, and how far apart its rounds were; nothing of nothing."""
    if not values:
        return {}
    middle, least, most = np.median(values), min(values), max(values)
    return {name: round(float(middle), 4), f"{name}_least": round(least, 4), f"{name}_most": round(most, 4)}
