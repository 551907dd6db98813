"""The split of one answer and of many, written a second time from docs/receipts.md, ADR 26, ADR 35 and ADR 38.  Pure.

Works on receipts as JSON documents.  Money is whole atomic units; a part of something is a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

NAT = 2**64
WHOLE = 10_000
UNATTRIBUTED = "unattributed"
ELSEWHERE = frozenset({"base", "developer", "platform", "stakers"})
"""Share keys of what does not belong to the data."""
RECORDS = "retrieval:"
"""What share keys begin with that are for records before the question."""

_BITS = 256  # of the fixed point in which exp(-g) is computed
_HALVINGS = 12


def largest_remainder(total: int, parts: Mapping[str, Fraction]) -> dict[str, int]:
    """Whole units of `total` for parts that sum to one; nothing for nothing."""
    exact = {key: total * part for key, part in parts.items()}
    given = {key: math.floor(amount) for key, amount in exact.items()}
    left = total - sum(given.values())
    for key in sorted(exact, key=lambda k: (given[k] - exact[k], k))[:left]:
        given[key] += 1
    return {key: amount for key, amount in given.items() if amount}


def base_part(gain: int) -> Fraction:
    """exp(-gain) to 18 decimals, half to even; `gain` in 2**-64 nat.

    By its series at gain / 2**12, squared back twelve times, in fixed point of 256 bits.
    """
    if gain <= 0:
        return Fraction(1)
    if gain >= 50 * NAT:
        return Fraction(0)
    one = 1 << _BITS
    small = (gain << (_BITS - 64)) >> _HALVINGS
    value, term = one, one
    for n in range(1, 60):
        term = -term * small // (n << _BITS)
        value += term
    for _ in range(_HALVINGS):
        value = value * value >> _BITS
    return Fraction(round(Fraction(value * 10**18, one)), 10**18)


def provisional(document: Mapping[str, Any]) -> dict[str, int]:
    """The shares of a receipt, from its other fields.  Raises `ValueError` for what is no such evidence."""
    rule, evidence = document["rule"], document["evidence"]
    fee, platform = int(document["fee"]), int(document["platform_fee"])
    if not 0 <= platform <= fee:
        raise ValueError(f"a fee of {fee} cannot hold a platform fee of {platform}")
    developer, stakers = Fraction(rule["developer_bps"], WHOLE), Fraction(rule["stakers_bps"], WHOLE)
    found = largest_remainder(
        fee - platform, {"developer": developer, "stakers": stakers, "pool": 1 - developer - stakers}
    )
    found |= largest_remainder(found.pop("pool", 0), _parts(document))
    found |= _of_records(found.pop("retrieval", 0), document)
    alone = Net(rule)
    alone.add(found.pop("data", 0), evidence)
    found |= alone.settled()
    return found | ({"platform": platform} if platform else {})


def _parts(document: Mapping[str, Any]) -> dict[str, Fraction]:
    """What of the pool is the base model's, the data's, and the records'."""
    base, model = (int(document["evidence"][name]) for name in ("nll_base", "nll_model"))
    if "retrieval" not in document:
        alone = base_part(base - model)
        return {"base": alone, "data": 1 - alone}
    bare_base, bare_model = (int(document["retrieval"][name]) for name in ("nll_base", "nll_model"))
    alone = base_part(bare_base - model)
    tuned_first = (bare_base - bare_model, bare_model - model)
    read_first = (base - model, bare_base - base)
    tuning, reading = (max(0, first + second) for first, second in zip(tuned_first, read_first, strict=True))
    read = Fraction(reading, tuning + reading) if tuning + reading else Fraction(0)
    return {"base": alone, "data": (1 - alone) * (1 - read), "retrieval": (1 - alone) * read}


def _of_records(money: int, document: Mapping[str, Any]) -> dict[str, int]:
    """Who gets what of the records' money."""
    if not money:
        return {}
    found = document["retrieval"]
    missed = {who: int(score) for who, score in found["scores"].items() if int(score) > 0}
    whole = max(sum(missed.values()), int(found["nll_model"]) - int(document["evidence"]["nll_model"]), 1)
    most = whole * document["rule"]["cap_bps"] // WHOLE
    parts = {RECORDS + who: Fraction(min(most, score), whole) for who, score in missed.items()}
    return largest_remainder(money, parts | {RECORDS + UNATTRIBUTED: 1 - sum(parts.values(), Fraction())})


class Net:
    """Credits of answers that are settled together, in 2**-64 atomic units; one for each contributor is held."""

    def __init__(self, rule: Mapping[str, int]) -> None:
        self._rule, self.money = rule, 0
        self._credit: dict[str, int] = {}
        self._doubt = 0

    def add(self, money: int, evidence: Mapping[str, Any]) -> None:
        """Take up an answer: what of its fee belongs to the data, and the evidence as its receipt has it."""
        scores = {who: int(score) for who, score in evidence["scores"].items()}
        errors = {who: int(error) for who, error in evidence["errors"].items()}
        trust = evidence["trust_bps"]
        if scores.keys() != errors.keys() or min(errors.values(), default=0) < 0 or not 0 <= trust <= WHOLE:
            raise ValueError("scores, standard errors and trust do not fit together")
        self.money += money
        gains = sum(score for score in scores.values() if score > 0)
        losses = max(gains, -sum(score for score in scores.values() if score < 0))
        if not gains:
            return
        believed = Fraction(money * NAT * trust, WHOLE)
        up, down = believed / gains, believed / losses
        for who, score in scores.items():
            self._credit[who] = self._credit.get(who, 0) + _worth(score, up, down)
        self._doubt += math.ceil(min(believed, up * sum(errors.values())))

    def settled(self) -> dict[str, int]:
        """Who gets what of the money, `unattributed` included."""
        if not self.money:
            return {}
        everything = self.money * NAT
        most = math.floor(Fraction(everything * self._rule["cap_bps"], WHOLE))
        doubt = math.ceil(Fraction(self._rule["noise_z_milli"], 1000) * self._doubt)
        earned = {who: credit for who, credit in self._credit.items() if credit > 0}
        together = sum(earned.values())
        kept = Fraction(max(0, together - doubt), max(1, together))
        parts = {who: Fraction(min(most, math.floor(credit * kept)), everything) for who, credit in earned.items()}
        return largest_remainder(self.money, parts | {UNATTRIBUTED: 1 - sum(parts.values(), Fraction())})


def _worth(score: int, up: Fraction, down: Fraction) -> int:
    per = up if score > 0 else down
    return score * per.numerator // per.denominator
