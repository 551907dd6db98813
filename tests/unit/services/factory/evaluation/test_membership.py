from __future__ import annotations

import numpy as np
import pytest

from services.factory.evaluation.likelihood import Likelihood
from services.factory.evaluation.membership import compare


def likelihood(before: np.ndarray, change: np.ndarray) -> Likelihood:
    return Likelihood(before, before + change, np.zeros(len(before)), np.zeros(len(before)))


def normal(n: int, mean: float, seed: int) -> np.ndarray:
    return mean + np.random.default_rng(seed).normal(size=n)


def test_records_that_became_likelier_stand_out() -> None:
    trained = likelihood(normal(20, 3, 1), normal(20, -3, 2) / 10 - 2)
    held_out = likelihood(normal(16, 3, 3), normal(16, 0, 4) / 10)
    found = compare(trained, held_out, 0, 500)
    assert (found.trained, found.held_out, found.warns) == (20, 16, True)
    assert (found.auc.value, found.auc.low, found.auc.high) == pytest.approx((1.0, 1.0, 1.0))
    before, after = found.gap_before.value, found.gap_after.value
    assert before is not None
    assert after == pytest.approx(before + float(held_out.loss_change.mean() - trained.loss_change.mean()))
    assert "in 100 % of pairs" in found.words


def test_hard_records_do_not_stand_out_for_being_hard() -> None:
    found = compare(
        likelihood(normal(20, 1, 1), normal(20, 0, 2)), likelihood(normal(20, 9, 3), normal(20, 0, 4)), 0, 500
    )
    assert found.auc.value == pytest.approx(0.5, abs=0.2)
    assert not found.warns
    assert found.words.startswith("Trained records do not stand out")
    assert found.gap_before.low is not None
    assert found.gap_before.low > 6


def test_a_small_sure_difference_does_not_warn() -> None:
    found = compare(
        likelihood(normal(400, 1, 1), normal(400, -0.5, 2)), likelihood(normal(400, 1, 3), normal(400, 0, 4)), 0, 300
    )
    assert 0.58 < (found.auc.low or 0) < (found.auc.high or 1) < 0.7
    assert not found.warns
    assert found.words.startswith("Trained records stand out a little")


def test_equal_changes_are_a_coin() -> None:
    same = likelihood(np.ones(8), np.zeros(8))
    assert compare(same, same, 0, 100).auc.value == 0.5


@pytest.mark.parametrize(("trained", "held_out"), ((7, 8), (8, 7), (0, 0)))
def test_few_records_say_nothing(trained: int, held_out: int) -> None:
    found = compare(
        likelihood(np.ones(trained), np.ones(trained)), likelihood(np.ones(held_out), np.ones(held_out)), 0, 9
    )
    assert (found.auc.value, found.warns) == (None, False)
    assert "too few" in found.words


def test_what_is_not_finite_is_left_out() -> None:
    broken = likelihood(np.ones(9), np.array([0.0] * 8 + [np.nan]))
    assert compare(broken, broken, 0, 50).trained == 8
