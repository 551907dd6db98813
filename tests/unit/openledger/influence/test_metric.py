from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.influence.metric import KINDS, Metric
from openledger.influence.record_scores import SCORERS, DataInf, Gradients, Less

SIZES = (5, 1, 7)
P = sum(SIZES)


def moments(seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.exp(draw.normal(size=P) * 3 - 8)


def gradients(seed: int = 0, rows: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, P)) * np.sqrt(moments(seed))


@given(st.integers(0, 2**32))
def test_products_in_adams_metric_are_adams(seed: int) -> None:
    g, v = gradients(seed), moments(seed)
    metric = Metric.adam(v)
    records, norms = metric.records(g)
    exact = SCORERS["adam-dot"](Gradients(g[:2], g, SIZES, v))
    terms = np.abs(metric.answers(g[:2])) @ np.abs(records).T
    assert (np.abs(metric.answers(g[:2]) @ records.T - exact) <= 0.1 * terms).all()
    assert np.allclose(norms, np.linalg.norm(g / (np.sqrt(v) + 1e-8), axis=1), rtol=0.1)


def test_a_factor_is_within_a_sixteenth_of_an_octave() -> None:
    v = np.geomspace(1e-14, 1e6, P)
    assert np.abs(np.log2(Metric.adam(v).factors * np.sqrt(np.sqrt(v) + 1e-8))).max() <= 1 / 16 + 1e-9
    assert np.array_equal(Metric("adam", np.array([0, 8, -8, 4, -4], dtype=np.int8)).factors[:3], [1, 2, 0.5])
    assert Metric("adam", np.arange(-128, 128, dtype=np.int8)).factors == pytest.approx(2 ** (np.arange(-128, 128) / 8))


def test_less_products_are_those_with_adams_next_step() -> None:
    g, v, m = gradients(), moments(), gradients(1)[0] * 0.1
    steps = Less().step(g, v, m)
    metric = Metric.adam(v, "less")
    records, norms = metric.records(g, steps)
    assert np.allclose(metric.answers(g) @ records.T, g @ steps.T)
    assert np.allclose(norms, np.linalg.norm(steps, axis=1))


def test_products_in_the_metric_of_tensors_are_datainf_of_many_records() -> None:
    """With many records, none of which is much of a tensor's Fisher matrix; with v the records' mean square."""
    sizes = (300, 200, 400)
    draw = np.random.default_rng(0)
    g = draw.normal(size=(400, sum(sizes))) * np.repeat([1.0, 30.0, 0.1], sizes)
    metric = Metric.tensor((g**2).mean(0), sizes)
    found = metric.answers(g[:5]) @ metric.records(g)[0].T
    exact = DataInf()(Gradients(g[:5], g, sizes))
    for row, truth in zip(found, exact, strict=True):
        assert np.corrcoef(row, truth)[0, 1] > 0.99
    assert len({*metric.exponents[:300].tolist()}) == 1


def test_no_metric_changes_nothing() -> None:
    g = gradients()
    records, norms = Metric.gradient(P).records(g)
    assert np.array_equal(records, g)
    assert np.allclose(norms, np.linalg.norm(g, axis=1))


def test_moments_without_anything_in_them_give_a_metric() -> None:
    for metric in (Metric.adam(np.zeros(P)), Metric.tensor(np.zeros(P), SIZES)):
        assert np.isfinite(metric.factors).all()


def test_what_makes_no_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="there are gradient, adam, tensor, less"):
        Metric("hessian", np.zeros(P, dtype=np.int8))
    for bad in (np.nan, np.inf, -1.0):
        with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="finite and not negative"):
            Metric.adam(np.full(P, bad))
    for kind in KINDS:
        steps = None if kind == "less" else gradients()
        with pytest.raises(ValueError, match='kind "less"'):
            Metric(kind, np.zeros(P, dtype=np.int8)).records(gradients(), steps)
