from __future__ import annotations

import math

import numpy as np
import pytest

from services.factory.evaluation.interval import Estimate, _student, resamples

STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 5: 2.571, 8: 2.306, 15: 2.131, 30: 2.042, 1000: 1.962}
"""Published two-sided 5 % points."""


def test_students_points_are_those_of_the_tables() -> None:
    assert {k: _student(k) for k in STUDENT} == pytest.approx(STUDENT, rel=1.2e-3)


@pytest.mark.parametrize("strata", ("aabbccddeeffgghh", "abcdefghijklmnop", "a" * 16, "aabbccdd", "aaaaaaaaaabbbcde"))
def test_the_interval_covers_the_truth_19_times_in_20(strata: str) -> None:
    draws = resamples(strata, seed=0, count=1000)
    rng = np.random.default_rng(1)
    found = [draws.mean(values) for values in rng.normal(size=(1000, len(strata)))]
    covered = np.mean([e.low is not None and e.high is not None and e.low <= 0 <= e.high for e in found])
    assert 0.91 <= covered <= 0.98


def test_the_spread_of_resamples_is_that_of_a_stratified_mean() -> None:
    strata, rng = "aaaabbbbbbbbcc", np.random.default_rng(2)
    values = rng.normal(size=len(strata)) + 10 * np.array([ord(s) for s in strata])
    groups = [values[[s == name for s in strata]] for name in "abc"]
    variance = sum(len(g) ** 2 * g.var(ddof=1) / len(g) for g in groups) / len(strata) ** 2
    assert (resamples(strata, 0, 20_000).weights @ values).std() == pytest.approx(math.sqrt(variance), rel=0.03)


def test_a_lone_record_joins_another_group() -> None:
    draws = resamples("aabbbbc", 0, 500)
    np.testing.assert_allclose(draws.weights.sum(axis=1), 1)
    assert (draws.weights[:, 6] == 0).any()
    assert draws.weights[:, 6].max() > 1 / 7


def test_groups_keep_their_share_in_every_resample() -> None:
    draws = resamples("aabbbb", 0, 200)
    np.testing.assert_allclose(draws.weights[:, :2].sum(axis=1), 2 / 6)


def test_the_same_seed_gives_the_same_resamples() -> None:
    np.testing.assert_array_equal(resamples("aabb", 3, 50).weights, resamples("aabb", 3, 50).weights)
    assert (resamples("aabb", 3, 50).weights != resamples("aabb", 4, 50).weights).any()


def test_without_spread_there_is_no_interval() -> None:
    assert resamples("", 0, 100).mean(np.array([])) == Estimate()
    assert resamples("a", 0, 100).mean(np.array([2.5])) == Estimate(2.5)
    assert resamples("aa", 0, 0).mean(np.array([1.0, 3.0])) == Estimate(2.0)
    assert resamples("aa", 0, 100).mean(np.array([2.0, 2.0])) == Estimate(2.0, 2.0, 2.0)


def test_what_is_not_finite_has_no_estimate() -> None:
    assert resamples("aaa", 0, 100).mean(np.array([1.0, math.nan, 2.0])) == Estimate()
    assert resamples("aaa", 0, 100).mean(np.array([1.0, math.inf, 2.0])) == Estimate()


def test_an_interval_stays_where_the_mean_can_be() -> None:
    shares = np.array([0.0, 0.0, 1.0, 1.0])
    free, bound = (resamples("aaaa", 0, 500).mean(shares, bounds) for bounds in ((-math.inf, math.inf), (0.0, 1.0)))
    assert (free.low or 0) < 0
    assert (free.high or 0) > 1
    assert (bound.low, bound.high) == (0.0, 1.0)
