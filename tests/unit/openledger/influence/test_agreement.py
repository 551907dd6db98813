"""Rank agreement: against scipy, by hand, and by what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import rankdata, spearmanr

from openledger.influence import agreement

WHOLE = st.integers(-4, 4).map(float)
"""Few values, so that most rows have ties."""


def rows(count: int) -> st.SearchStrategy[list[np.ndarray]]:
    """So many arrays of one shape [Q, n]."""
    shape = st.tuples(st.integers(1, 4), st.integers(2, 9))
    return shape.flatmap(lambda s: st.lists(arrays.arrays(float, s, elements=WHOLE), min_size=count, max_size=count))


def half_subsets(models: int, contributors: int, draw: np.random.Generator) -> np.ndarray:
    masks = np.zeros((models, contributors), dtype=bool)
    for mask in masks:
        mask[draw.permutation(contributors)[: contributors // 2]] = True
    return masks


@given(rows(2))
def test_ranks_and_correlations_are_scipys_except_that_no_order_is_no_agreement(pair: list[np.ndarray]) -> None:
    left, right = pair
    assert np.array_equal(agreement.ranks(left), rankdata(left, axis=-1))
    for row, x, y in zip(agreement.spearman(left, right), left, right, strict=True):
        constant = len(set(x)) == 1 or len(set(y)) == 1
        assert row == (0.0 if constant else pytest.approx(spearmanr(x, y).statistic, abs=1e-12))


@given(rows(2), st.randoms(use_true_random=False))
def test_only_order_counts_and_not_the_order_of_points(pair: list[np.ndarray], random) -> None:
    left, right = pair
    order = list(range(left.shape[1]))
    random.shuffle(order)
    plain = agreement.spearman(left, right)
    assert np.array_equal(plain, agreement.spearman(left[:, order], right[:, order]))
    assert np.array_equal(plain, agreement.spearman(np.exp(left), right * 7 - 3))
    assert np.array_equal(plain, agreement.spearman(right, left))
    assert np.array_equal(plain, -agreement.spearman(-left, right))


def test_perfect_agreement_is_exactly_one() -> None:
    values = np.random.default_rng(0).normal(size=(3, 17))
    assert agreement.spearman(values, values**3).tolist() == [1, 1, 1]


@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_a_diverged_model_is_an_error_and_not_a_rank(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        agreement.lds([[1.0, 2.0]], np.eye(2, dtype=bool), [[0.5], [value]])


def test_shapes_that_do_not_fit_are_refused() -> None:
    masks = np.eye(2, dtype=bool)
    for scores, which, outcomes in (
        (np.ones((1, 3)), masks, np.ones((2, 1))),  # another number of contributors
        (np.ones((1, 2)), masks, np.ones((1, 2))),  # outcomes the wrong way round
        (np.ones((1, 2)), masks.astype(float), np.ones((2, 1))),  # weights, not membership
        (np.ones((1, 2)), masks[:1], np.ones((1, 1))),  # one model has no order
    ):
        with pytest.raises(ValueError, match="needed"):
            agreement.lds(scores, which, outcomes)


def test_lds_is_one_where_outcomes_are_the_sums_of_scores() -> None:
    draw = np.random.default_rng(1)
    scores, masks = draw.normal(size=(5, 8)), half_subsets(20, 8, draw)
    assert agreement.lds(scores, masks, masks @ scores.T) == pytest.approx(np.ones(5))
    assert agreement.lds(-scores, masks, masks @ scores.T) == pytest.approx(-np.ones(5))


@given(st.integers(0, 2**32), st.integers(2, 10), st.floats(1e-6, 1e6))
def test_lds_depends_neither_on_the_order_of_contributors_nor_on_the_scores_unit(
    seed: int, contributors: int, unit: float
) -> None:
    draw = np.random.default_rng(seed)
    scores, masks = draw.normal(size=(3, contributors)), half_subsets(8, contributors, draw)
    outcomes, order = draw.normal(size=(8, 3)), draw.permutation(contributors)
    plain = agreement.lds(scores, masks, outcomes)
    assert np.array_equal(agreement.lds(scores[:, order], masks[:, order], outcomes), plain)
    assert np.array_equal(agreement.lds(scores * 2.0 ** round(np.log2(unit)), masks, outcomes), plain)


def test_who_cannot_tell_contributors_apart_gets_nothing_even_after_rounding() -> None:
    """0.1 summed in different orders gives different floats; a naive sum would rank those."""
    draw = np.random.default_rng(2)
    masks = half_subsets(30, 16, draw)
    scores = np.tile([0.1, 0.2, 0.3, 0.7] * 4, (4, 1))
    same = masks.reshape(30, 4, 4).sum(1)
    tied = agreement.subset_scores(scores, masks)[0]
    for left in range(30):
        for right in range(30):
            if np.array_equal(same[left], same[right]):
                assert tied[left] == tied[right]
    assert agreement.lds(np.full((4, 16), 0.1), masks, draw.normal(size=(30, 4))).tolist() == [0, 0, 0, 0]


def test_leave_one_out_is_agreement_over_contributors() -> None:
    truth = np.array([[0.1, 0.3, 0.2], [0.0, -0.1, 0.5]])
    assert agreement.leave_one_out(truth * 5, truth).tolist() == [1, 1]
    assert agreement.leave_one_out([[1, 2, 3], [3, 2, 1]], truth).tolist() == [0.5, -0.5]


def test_the_owners_rank_counts_from_the_top() -> None:
    scores = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0], [1.0, 1.0, 1.0]])
    assert agreement.owner_rank(scores, [0, 2, 1]).tolist() == [1, 1.5, 2]


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(3)
    held = 0
    for seed in range(300):
        found = agreement.over_queries(draw.beta(8, 2, size=30), seed)
        held += found.low <= 0.8 <= found.high
    assert 0.9 <= held / 300 <= 0.98


def test_intervals_are_the_same_every_time() -> None:
    values = np.random.default_rng(4).normal(size=12)
    assert agreement.over_queries(values) == agreement.over_queries(values)
    assert agreement.over_queries(values) != agreement.over_queries(values, seed=1)
    assert agreement.over_queries([0.25] * 5) == agreement.Interval(0.25, 0.25, 0.25)


def noisy_study(draw: np.random.Generator, models: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores [30, 10], masks [models, 10] and outcomes [models, 30] whose noise all queries of a model share."""
    truth, masks = draw.normal(size=(30, 10)), half_subsets(models, 10, draw)
    luck = draw.normal(size=(models, 1)) + draw.normal(size=(models, 30))
    return truth + draw.normal(size=truth.shape) * 0.5, masks, masks @ truth.T + luck


def test_other_retrains_are_a_doubt_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that all queries share cannot be seen by redrawing queries."""
    monkeypatch.setattr(agreement, "REPLICATES", 250)
    draw = np.random.default_rng(5)
    alone = both = 0
    population = agreement.lds(*noisy_study(draw, 2000)).mean()
    for seed in range(40):
        scores, masks, outcomes = noisy_study(draw, 24)
        predicted = agreement.subset_scores(scores, masks)
        queries = agreement.over_queries(agreement.lds(scores, masks, outcomes), seed)
        crossed = agreement.over_queries_and_points(predicted, outcomes.T, seed=seed)
        assert crossed.mean == pytest.approx(queries.mean)
        assert crossed.high - crossed.low > queries.high - queries.low
        alone += queries.low <= population <= queries.high
        both += crossed.low <= population <= crossed.high
    assert alone < both
    assert both >= 38


def test_a_rival_is_compared_on_the_same_draws() -> None:
    draw = np.random.default_rng(6)
    scores, masks, outcomes = noisy_study(draw, 32)
    good, bad = (agreement.subset_scores(s, masks) for s in (scores, draw.normal(size=scores.shape)))
    truth = outcomes.T
    assert agreement.over_queries_and_points(good, truth, rival=good) == agreement.Interval(0, 0, 0)
    difference = agreement.over_queries_and_points(good, truth, rival=bad)
    assert difference.low > 0
    means = [agreement.over_queries_and_points(side, truth).mean for side in (good, bad)]
    assert difference.mean == pytest.approx(means[0] - means[1])
