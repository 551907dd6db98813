"""Record scorers against the formulas written out with explicit matrices, and by what must not change them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.influence import record_scores
from openledger.influence.record_scores import SCORERS, DataInf, Dot, Fisher, Gradients, Less, by_contributor

SIZES = (5, 1, 7)
P, N, Q = sum(SIZES), 6, 3
NEEDS_MOMENT = ("adam-dot", "adam-cosine", "adam-fisher", "less")


def world(seed: int = 0, records: int = N) -> Gradients:
    """Tensors of very different scale, as they have in LoRA."""
    draw = np.random.default_rng(seed)
    scale = np.repeat([1.0, 30.0, 0.1], SIZES)
    return Gradients(
        draw.normal(size=(Q, P)) * scale,
        draw.normal(size=(records, P)) * scale,
        SIZES,
        (draw.normal(size=P) * scale) ** 2,
        draw.normal(size=P) * scale * 0.1,
    )


def tensors() -> list[slice]:
    ends = np.cumsum(SIZES)
    return [slice(end - size, end) for end, size in zip(ends, SIZES, strict=True)]


def test_dot_and_cosine() -> None:
    g = world()
    q, r = g.queries, g.records
    norms = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(r, axis=1)
    assert np.allclose(Dot()(g), q @ r.T)
    assert np.allclose(Dot(cosine=True)(g), q @ r.T / norms)


def test_adam_scales_the_records_step_and_not_the_query() -> None:
    g = world()
    steps = g.records / (np.sqrt(g.adam()) + 1e-8)
    norms = np.linalg.norm(g.queries, axis=1)[:, None] * np.linalg.norm(steps, axis=1)
    assert np.allclose(Dot(adam=True)(g), g.queries @ steps.T)
    assert np.allclose(Dot(adam=True, cosine=True)(g), g.queries @ steps.T / norms)


@pytest.mark.parametrize("with_momentum", (True, False))
def test_less_is_the_cosine_with_adams_next_step(with_momentum: bool) -> None:
    g = world() if with_momentum else dataclasses.replace(world(), first_moment=None)
    momentum = g.first_moment if g.first_moment is not None else np.zeros(P)
    for n, record in enumerate(g.records):
        step = (0.9 * momentum + 0.1 * record) / (np.sqrt(0.95 * g.adam() + 0.05 * record**2) + 1e-8)
        for q, query in enumerate(g.queries):
            cosine = query @ step / np.linalg.norm(query) / np.linalg.norm(step)
            assert Less()(g)[q, n] == pytest.approx(cosine)


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_datainf_is_the_mean_of_explicit_inverses_tensor_by_tensor(seed: int, records: int) -> None:
    g = world(seed, records)
    expected = np.zeros((Q, records))
    for tensor in tensors():
        r, size = g.records[:, tensor], tensor.stop - tensor.start
        damping = 0.1 * (r**2).sum() / (records * size)
        inverse = np.mean([np.linalg.inv(damping * np.eye(size) + np.outer(i, i)) for i in r], axis=0)
        expected += g.queries[:, tensor] @ inverse @ r.T
    assert np.allclose(DataInf()(g), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@given(st.integers(0, 2**32), st.integers(1, 25), st.sampled_from((0.1, 1.0, 10.0)), st.booleans())
def test_fisher_is_the_explicit_inverse(seed: int, records: int, damping: float, adam: bool) -> None:
    """Also with more records than parameters, where the Gram matrix is singular without its damping."""
    g = world(seed, records)
    metric = 1 / np.sqrt(np.sqrt(g.adam()) + 1e-8) if adam else np.ones(P)
    q, r = g.queries * metric, g.records * metric
    fisher = r.T @ r / records
    expected = q @ np.linalg.inv(fisher + damping * np.trace(fisher) / records * np.eye(P)) @ r.T
    found = Fisher(damping=damping, adam=adam)(g)
    assert np.allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


@given(st.sampled_from(sorted(SCORERS)), st.integers(0, 2**32))
def test_scores_do_not_depend_on_the_order_of_queries_or_records(name: str, seed: int) -> None:
    g, draw = world(seed), np.random.default_rng(seed)
    queries, records = draw.permutation(Q), draw.permutation(N)
    moved = dataclasses.replace(g, queries=g.queries[queries], records=g.records[records])
    plain = SCORERS[name](g)
    assert np.allclose(SCORERS[name](moved), plain[np.ix_(queries, records)], atol=1e-9 * np.abs(plain).max())


@given(st.sampled_from(sorted(SCORERS)), st.integers(0, 2**32), st.floats(0.01, 100))
def test_order_within_a_query_does_not_depend_on_the_losss_unit(name: str, seed: int, unit: float) -> None:
    """Nats or bits: gradients, the first moment and epsilon scale with the unit, the second moment with its square."""
    g, scorer = world(seed), SCORERS[name]
    moment, momentum = g.adam() * unit**2, np.zeros(P) + g.first_moment * unit
    scaled = Gradients(g.queries * unit, g.records * unit, SIZES, moment, momentum)
    other_unit = dataclasses.replace(scorer, epsilon=scorer.epsilon * unit) if hasattr(scorer, "epsilon") else scorer
    plain, other = scorer(g), other_unit(scaled)
    ratio = np.linalg.norm(other) / np.linalg.norm(plain)
    assert np.allclose(other, plain * ratio, rtol=1e-9, atol=1e-9 * np.abs(plain).max() * ratio)


@pytest.mark.parametrize("name", ("gradient-cosine", "adam-cosine"))
def test_a_cosine_ignores_how_loud_a_record_is(name: str) -> None:
    g = world()
    loud = dataclasses.replace(g, records=g.records * np.arange(1, N + 1)[:, None])
    assert np.allclose(SCORERS[name](loud), SCORERS[name](g))
    assert (np.abs(SCORERS[name](g)) <= 1).all()


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_records_on_disk_are_read_in_blocks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    g = world()
    plain = SCORERS[name](g)
    monkeypatch.setattr(record_scores, "HEIGHT", 4)
    monkeypatch.setattr(record_scores, "WIDTH", 3)
    on_disk = np.memmap(tmp_path / "records", dtype=np.float64, mode="w+", shape=g.records.shape)
    on_disk[:] = g.records
    assert np.allclose(SCORERS[name](dataclasses.replace(g, records=on_disk)), plain, rtol=1e-10)


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_records_without_gradients_score_nothing(name: str) -> None:
    g = dataclasses.replace(world(), records=np.zeros((N, P)), first_moment=None)
    assert np.array_equal(SCORERS[name](g), np.zeros((Q, N)))


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_float32_gradients_are_summed_in_float64(name: str) -> None:
    g = world()
    single = dataclasses.replace(g, queries=g.queries.astype(np.float32), records=g.records.astype(np.float32))
    double = dataclasses.replace(g, queries=single.queries.astype(float), records=single.records.astype(float))
    found = SCORERS[name](single)
    assert found.dtype == np.float64
    assert np.array_equal(found, SCORERS[name](double))


@pytest.mark.parametrize("name", NEEDS_MOMENT)
def test_adams_metric_needs_adams_moment(name: str) -> None:
    with pytest.raises(ValueError, match="second moment"):
        SCORERS[name](dataclasses.replace(world(), second_moment=None))


def test_shapes_that_do_not_fit_are_refused() -> None:
    g = world()
    for change in ({"queries": g.queries[:, 1:]}, {"records": g.records[:, 1:]}, {"sizes": (P - 1,)}):
        with pytest.raises(ValueError, match="do not fit"):
            dataclasses.replace(g, **change)
    for moment in ("second_moment", "first_moment"):
        with pytest.raises(ValueError, match="do not fit"):
            dataclasses.replace(g, **{moment: np.ones(P - 1)})


@given(st.integers(0, 2**32), st.lists(st.integers(0, 3), min_size=N, max_size=N))
def test_contributors_get_the_sum_of_their_records(seed: int, owners: list[int]) -> None:
    """So who splits an account in two (4 joins 0 below) has together what it had."""
    scores = np.random.default_rng(seed).normal(size=(Q, N))
    found = by_contributor(scores, owners, 5)
    for c in range(5):
        assert np.allclose(found[:, c], scores[:, [n for n in range(N) if owners[n] == c]].sum(1))
    split = by_contributor(scores, [4 if n % 2 and c == 0 else c for n, c in enumerate(owners)], 5)
    assert np.allclose(split[:, 0] + split[:, 4], found[:, 0])


def test_every_record_needs_an_owner_that_exists() -> None:
    for owners in ([0, 1], [0, 1, 3], [0, -1, 1]):
        with pytest.raises(ValueError, match="one owner"):
            by_contributor(np.ones((1, 3)), owners, 3)
