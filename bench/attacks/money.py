"""What everybody is paid for some answers, each of which cost the same.

By the rule itself, `openledger.split`; nothing of it is done again here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from openledger.split import (
    BASE,
    BASIS_POINTS,
    DATA,
    DEVELOPER,
    STAKERS,
    UNATTRIBUTED,
    Answer,
    Evidence,
    Rule,
    allocate,
    divide,
    settle,
)

FEE = 10**12
"""Of an answer."""


@dataclass(frozen=True)
class Paid:
    """All of it in parts of what the answers cost."""

    people: dict[str, float]
    base: float
    unattributed: float

    def of(self, who: Iterable[str]) -> float:
        """What some accounts have together."""
        return sum(self.people.get(one, 0.0) for one in who)

    @property
    def data(self) -> float:
        """What belongs to contributors and to nobody."""
        return sum(self.people.values()) + self.unattributed


def paid(evidence: Sequence[Evidence], rule: Rule, fees: Sequence[int] = ()) -> Paid:
    """fees: of each answer, FEE where none are given."""
    answers, base = with_money(evidence, rule, fees)
    return settled(answers, rule, total=sum(fees), base=base)


def with_money(
    evidence: Sequence[Evidence], rule: Rule | None = None, fees: Sequence[int] = ()
) -> tuple[list[Answer], int]:
    """Each answer with what of its fee belongs to the data, and what of all fees is the base model's."""
    rule, fees = rule or Rule(), fees or [FEE] * len(evidence)
    answers, base = [], 0
    cuts = {DEVELOPER: rule.developer_bps, STAKERS: rule.stakers_bps}
    cuts["pool"] = BASIS_POINTS - sum(cuts.values())
    for each, fee in zip(evidence, fees, strict=True):
        parts = divide(allocate(fee, cuts).get("pool", 0), each)
        base += parts.get(BASE, 0)
        answers.append(Answer(parts.get(DATA, 0), each))
    return answers, base


def settled(answers: Sequence[Answer], rule: Rule, *, total: int = 0, base: int = 0) -> Paid:
    """Answers that are settled together. total: their fees, FEE each where it is 0."""
    total, found = total or FEE * len(answers), settle(answers, rule)
    left = found.pop(UNATTRIBUTED, 0)
    return Paid({who: amount / total for who, amount in found.items()}, base / total, left / total)
