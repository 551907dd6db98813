"""The open load: when requests are sent, what is drawn, and what is made of what became of them."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from bench.serve import load
from bench.serve.load import Ask, RefusedError, Told


class Slow:
    """Answers the first request late, and refuses those of nobody."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    async def answer(self, ask: Ask, heard: Callable[[], None]) -> tuple[int, int]:
        self.begun.append(ask.prompt)
        if ask.prompt == "late":
            await asyncio.sleep(0.3)
        if ask.model == "nobody":
            raise RefusedError("UNKNOWN_MODEL")
        heard()
        heard()
        return 7, 2


async def test_a_late_answer_delays_nobody():
    target = Slow()
    asks = [Ask("late", 5), Ask("second", 5, at=0.05), Ask("third", 5, "nobody", at=0.1)]
    late, second, third = await load.run(target, asks)
    assert target.begun == ["late", "second", "third"]
    assert late.end > 0.3 > third.end
    assert 0.05 <= second.end < 0.3
    assert (second.tokens_in, second.tokens, len(second.pieces), second.code) == (7, 2, 2, "")
    assert (third.tokens, third.pieces, third.code) == (0, [], "UNKNOWN_MODEL")


async def test_time_to_the_first_text_counts_from_when_it_was_to_be_sent():
    class Busy(Slow):
        async def answer(self, ask: Ask, heard: Callable[[], None]) -> tuple[int, int]:
            if ask.prompt == "blocks":
                import time

                time.sleep(0.2)  # noqa: ASYNC251 - as a sender that has too much to do
            return await super().answer(ask, heard)

    _, other = await load.run(Busy(), [Ask("blocks", 5), Ask("other", 5, at=0.05)])
    assert other.first >= 0.14


def told(at: float, pieces: list[float], end: float, tokens: int, code: str = "") -> Told:
    return Told(Ask("", 9, at=at), pieces, end, 3, tokens, code)


def test_a_summary_counts_what_was_answered_over_the_whole_time():
    found = load.summary(
        [told(1.0, [1.5, 2.0], 3.0, 20), told(1.5, [2.5], 5.0, 10), told(2.0, [], 2.1, 0, "QUEUE_FULL")]
    )
    assert (found["requests"], found["answered"], found["not_answered"]) == (3, 2, {"QUEUE_FULL": 1})
    assert (found["tokens"], found["tokens_in"], found["seconds"], found["tokens_per_s"]) == (30, 6, 4.0, 7.5)
    assert found["first_text_s"]["p50"] == 0.75
    assert found["between_texts_s"] == {"p50": 0.5, "p95": 0.5, "p99": 0.5}


def test_a_load_of_which_nothing_was_answered_says_why():
    with pytest.raises(RuntimeError, match="QUEUE_FULL"):
        load.summary([told(0, [], 1, 0, "QUEUE_FULL")])


def test_arrivals_are_as_many_as_asked_at_that_rate_and_the_same_for_a_seed():
    times = load.poisson(20, 4000, seed=3)
    assert times == load.poisson(20, 4000, seed=3) != load.poisson(20, 4000, seed=4)
    assert times == sorted(times)
    assert 4000 / times[-1] == pytest.approx(20, rel=0.05)
    gaps = np.diff(times)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1), "as exponential gaps do"


def test_models_are_drawn_by_zipfs_law():
    models = [f"m{n}" for n in range(4)]
    drawn = load.zipf(models, 50_000, seed=1)
    counts = Counter(drawn)
    for n, model in enumerate(models, 1):
        assert counts[model] * n / counts["m0"] == pytest.approx(1, rel=0.06)
    assert load.zipf(models[:1], 3, seed=1) == ["m0"] * 3


def test_questions_differ_from_their_beginning_on_and_are_of_a_length():
    asked = load.questions(300, "one thing")
    others = load.questions(300, "another")
    assert len({text[:40] for text in asked + others}) == 600
    lengths = [len(text) for text in asked]
    assert max(lengths) - min(lengths) < 10


def test_jains_index():
    assert load.jain([5, 5]) == 1
    assert load.jain([9, 0, 0]) == pytest.approx(1 / 3)


async def test_arms_take_turns_and_ratios_are_of_the_same_round():
    order: list[str] = []
    values = {"one": itertools.count(10, 10), "other": itertools.count(10, 5)}

    def arm(name: str):
        async def measure(number: int) -> dict[str, float]:
            order.append(f"{name} {number}")
            return {"tokens_per_s": next(values[name])}

        return measure

    rows = await load.in_turns(3, {name: arm(name) for name in values})
    assert order == ["one 0", "other 0", "one 1", "other 1", "one 2", "other 2"]
    ratios = load.ratios(rows, "one", "other")
    assert ratios == [1, 20 / 15, 30 / 20]
    assert load.spread("x", ratios) == {"x": 1.3333, "x_least": 1.0, "x_most": 1.5}
    assert load.spread("x", []) == {}
