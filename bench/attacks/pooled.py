"""Gains over several worlds, with intervals: an attack's pay in all of them, over what there was before in all of them.

An interval is a bootstrap's: worlds are drawn again (where there are several), and in each of them the answers that are
settled together, the same ones before and after. Of few worlds it is crude, and says so by their number.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.attacks.money import settled, with_money
from bench.attacks.world import address
from openledger.split import Answer, Evidence, Rule

DRAWS, TAIL = 200, 0.025
"""Of the bootstrap; and what is left out on either side."""
CHOSEN = Rule().noise_z_milli
"""The product's."""


@dataclass(frozen=True)
class Trial:
    """An attack in one world. accounts: the attacker's before; none: it is compared with an equal part for everybody.

    theirs: the attacker's in the attack. Answers before and after are to the same questions, in the same order.
    """

    attack: str
    rule: str
    seed: int
    before: Sequence[Evidence]
    accounts: Sequence[int]
    after: Sequence[Evidence]
    theirs: Sequence[int]

    @cached_property
    def _answers(self) -> tuple[list[Answer], list[Answer]]:
        return with_money(self.before)[0], with_money(self.after)[0]

    def pay(self, chosen: Sequence[int], rule: Rule) -> tuple[float, float]:
        """Before and after, where these answers are settled together: parts of what they cost."""
        before, after = self._answers
        now = settled([after[place] for place in chosen], rule)
        has = now.of(map(address, self.theirs))
        if not self.accounts:
            return now.data / len(self.after[0].scores), has
        return settled([before[place] for place in chosen], rule).of(map(address, self.accounts)), has


def rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """One an attack, rule about near-duplicates, and part of the doubt that is taken off."""
    names = list(dict.fromkeys((trial.attack, trial.rule) for trial in trials))
    return [row for attack, rule in names for row in _rows([t for t in trials if (t.attack, t.rule) == (attack, rule)])]


def _rows(trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    everything = [(trial, range(len(trial.after))) for trial in trials]
    for z in (0, CHOSEN):
        rule, draw = Rule(noise_z_milli=z), random.Random("bootstrap")
        gains = sorted(_gain(_drawn(trials, draw), rule) for _ in range(DRAWS))
        cut = math.floor(TAIL * DRAWS)
        yield {
            "attack": trials[0].attack,
            "near_duplicates": trials[0].rule,
            "z": z / 1000,
            "gain": _rounded(_gain(everything, rule)),
            "low": _rounded(gains[cut]),
            "high": _rounded(gains[-1 - cut]),
            "against": "own" if trials[0].accounts else "uniform",
            "trainings": len(trials),
            "answers": sum(len(trial.after) for trial in trials),
        }


def _drawn(trials: Sequence[Trial], draw: random.Random) -> list[tuple[Trial, Sequence[int]]]:
    worlds = draw.choices(trials, k=len(trials))
    return [(trial, draw.choices(range(len(trial.after)), k=len(trial.after))) for trial in worlds]


def _gain(chosen: Sequence[tuple[Trial, Sequence[int]]], rule: Rule) -> float:
    pairs = [trial.pay(places, rule) for trial, places in chosen]
    had, has = (sum(pair[side] for pair in pairs) for side in (0, 1))
    return has / had if had else math.inf if has else 0.0


def _rounded(gain: float) -> float | None:
    """None: of nothing."""
    return round(gain, 3) if math.isfinite(gain) else None
