"""How much of the data's money goes to the wrong people, and how much to nobody, by how much of the doubt is taken off.

Answers of equal fees are settled as an epoch settles them, by scores; and by what really retraining without each
contributor says, with nothing taken off. Where somebody has more by scores, that much is *wrong*. Part of
``bench errors``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.lds.study import Floats
from openledger.split import NAT, UNATTRIBUTED, Answer, Evidence, Rule, settle

Z_MILLI = (0, 100, 250, 500, 1_000)
ANSWERS = (1, 6, 16, 48)
"""Settled together."""
DRAWS = 200
MONEY = 10**12
"""Of an answer."""


def rows(name: str, scores: Floats, errors: Floats, truth: Floats) -> list[dict[str, Any]]:
    """scores, errors, truth: [Q, C], nats a token. Means over draws of answers, and what nine in ten stay below."""
    chance = np.random.default_rng(0)
    found = []
    for count in (n for n in ANSWERS if n <= len(scores)):
        draws = [chance.choice(len(scores), count, replace=False) for _ in range(DRAWS if count < len(scores) else 1)]
        right = [settled(truth[drawn], np.zeros_like(truth[drawn]), 0) for drawn in draws]
        for z in Z_MILLI:
            paid = [settled(scores[drawn], errors[drawn], z) for drawn in draws]
            wrong = [wrongly(one, other) for one, other in zip(paid, right, strict=True)]
            nobodys = [one.get(UNATTRIBUTED, 0.0) for one in paid]
            of_truth = [one.get(UNATTRIBUTED, 0.0) for one in right]
            found.append(
                {
                    "setting": name,
                    "answers": count,
                    "z": z / 1_000,
                    "wrong": round(float(np.mean(wrong)), 4),
                    "wrong_9_in_10": round(float(np.quantile(wrong, 0.9)), 4),
                    "unattributed": round(float(np.mean(nobodys)), 4),
                    "unattributed_by_retraining": round(float(np.mean(of_truth)), 4),
                }
            )
    return found


def settled(scores: Floats, errors: Floats, z_milli: int) -> dict[str, float]:
    """Parts of the data's money by contributor (its number) and ``unattributed``; scores, errors: [Q, C]."""
    rule = Rule(noise_z_milli=z_milli)
    answers = [
        Answer(MONEY, Evidence(0, 0, _whole(score), (), _whole(error)))
        for score, error in zip(scores, errors, strict=True)
    ]
    return {who: amount / (MONEY * len(answers)) for who, amount in settle(answers, rule).items()}


def wrongly(paid: dict[str, float], right: dict[str, float]) -> float:
    """The part of the data's money that contributors have who should not have it."""
    return sum(max(0.0, part - right.get(who, 0.0)) for who, part in paid.items() if who != UNATTRIBUTED)


def _whole(values: Floats) -> dict[str, int]:
    return {str(who): round(float(value) * NAT) for who, value in enumerate(values)}
