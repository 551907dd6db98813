from __future__ import annotations

from dataclasses import replace

import pytest

from services.attribution.audit import agreements, drawn
from tests.unit.openledger.test_receipt import UNSIGNED

PEOPLE = [f"0x{n:040x}" for n in range(12)]
SEED = "ab" * 32


def receipts(count):
    return [replace(UNSIGNED, trace_sha256=f"{number:064x}") for number in range(count)]


def test_one_answer_in_so_many_is_drawn_and_always_the_same():
    some = receipts(5_000)
    chosen = [drawn(receipt, 1_000) for receipt in some]
    assert 400 < sum(chosen) < 600
    assert chosen == [drawn(receipt, 1_000) for receipt in some]
    assert all(drawn(receipt, 2_000) for receipt, taken in zip(some, chosen, strict=True) if taken)


@pytest.mark.parametrize(("share", "expected"), ((0, set()), (10_000, {True})))
def test_none_or_all_can_be_drawn(share, expected):
    assert {drawn(receipt, share) for receipt in receipts(50)} <= (expected or {False})


def test_scores_in_the_order_of_the_truth_agree_and_chance_does_not():
    scores = {who: (number + 1) ** 3 << 50 for number, who in enumerate(PEOPLE)}
    rises = {who: number << 40 for number, who in enumerate(PEOPLE)}
    paid, shuffled = agreements(scores, rises, SEED)
    assert paid == 1
    assert abs(shuffled) < 0.8
    assert agreements(dict(reversed(scores.items())), rises, SEED) == (paid, shuffled)
    assert agreements({who: -score for who, score in scores.items()}, rises, SEED)[0] == -1


def test_scores_of_others_cannot_be_judged():
    with pytest.raises(ValueError, match="other contributors"):
        agreements({PEOPLE[0]: 1}, {PEOPLE[1]: 1}, SEED)
