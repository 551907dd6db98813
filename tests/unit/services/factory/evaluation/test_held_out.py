from __future__ import annotations

import numpy as np
import pytest

from services.factory.data import Example
from services.factory.evaluation.held_out import compare
from services.factory.evaluation.interval import Estimate
from services.factory.evaluation.likelihood import Likelihood


def case(owners: str, after: list[float]) -> tuple[list[Example], Likelihood]:
    examples = [Example(f"r{i}", f"0x{owner}", (1,), (2,)) for i, owner in enumerate(owners)]
    n = len(owners)
    before = np.arange(n) + 1.0
    return examples, Likelihood(before, np.array(after), np.full(n, 0.25), np.full(n, 0.5))


def test_every_record_counts_the_same_and_everybody_has_a_row() -> None:
    found = compare(*case("aab", [0.5, 1.5, 1.5]), left_out=4, seed=0, count=300)
    figures = found.figures
    assert (figures.records, found.left_out, found.not_finite) == (3, 4, 0)
    assert (figures.loss_before.value, figures.loss_after.value) == pytest.approx((2.0, 3.5 / 3))
    assert figures.loss_change.value == pytest.approx(-2.5 / 3)
    assert figures.accuracy_change == Estimate(0.25, 0.25, 0.25)
    assert [(row.contributor, row.figures.records) for row in found.contributors] == [("0xa", 2), ("0xb", 1)]
    assert found.contributors[0].figures.loss_change == Estimate(-0.5, -0.5, -0.5)
    assert found.contributors[1].figures.loss_change == Estimate(-1.5)


def test_the_change_is_paired() -> None:
    """Records differ by far more than tuning changes any of them."""
    found = compare(*case("a" * 20, [i + 0.9 for i in range(20)]), left_out=0, seed=0, count=500).figures
    assert found.loss_change.high == pytest.approx(-0.1)
    assert found.loss_before.low is not None
    assert found.loss_before.high is not None
    assert found.loss_before.high - found.loss_before.low > 4


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    found = compare(*case("aab", [0.5, np.nan, np.inf]), left_out=0, seed=0, count=100)
    assert (found.figures.records, found.not_finite) == (1, 2)
    assert found.figures.loss_after == Estimate(0.5)
    assert len(found.contributors) == 1


def test_no_record() -> None:
    found = compare(*case("", []), left_out=0, seed=0, count=100)
    assert (found.figures.records, found.figures.loss_change, found.contributors) == (0, Estimate(), ())
