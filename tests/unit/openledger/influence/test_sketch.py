"""Sketches against what theory says of them, with seeds as the only chance; and against explicit matrices."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openledger.influence import sketch
from openledger.influence.sketch import Answer, Projection, Signs, SketchError

P, K = 900, 512
SEEDS = st.integers(0, 2**32)
FACTORS = st.floats(-100, 100, width=32, allow_subnormal=False)


def vectors(seed: int, rows: int = 2, size: int = P) -> np.ndarray:
    """Entries of very different size, as gradients have them."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, size)) * np.exp(draw.normal(size=size))


def explicit(projection: Projection) -> np.ndarray:
    """S [K, P], from its definition."""
    hadamard = np.ones((1, 1))
    while len(hadamard) < projection.bits:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    counts = np.zeros((len(hadamard), projection.size))
    for i, number in enumerate(drawn(projection.seed, "buckets", projection.size)):
        counts[number * len(hadamard) // 2**64, i] = -1 if number & 1 else 1
    turned = np.diag([-1 if number & 1 else 1 for number in drawn(projection.seed, "rotation", len(hadamard))])
    return (hadamard @ turned @ hadamard @ counts)[: projection.bits] / np.sqrt(projection.bits * len(hadamard))


def drawn(seed: str, use: str, count: int) -> list[int]:
    key = hashlib.sha256(f"openledger.sketch.v1 {use}\n{seed}".encode()).digest()[:16]
    return np.random.Philox(key=int.from_bytes(key, "little")).random_raw(count).tolist()


@pytest.mark.parametrize("bits", (64, 192, 512))
def test_projects_as_the_explicit_matrix(bits: int) -> None:
    projection, v = Projection(P, "a seed", bits), vectors(0, rows=3)
    assert np.allclose(projection(v), v @ explicit(projection).T, rtol=1e-12, atol=1e-12 * np.abs(v).sum())


def test_the_bits_are_the_same_on_every_machine_and_in_every_version() -> None:
    """What is on disk must be made again by later versions. Only scales hang on the order in which numpy sums."""
    v = np.arange(3 * 1000, dtype=np.float32).reshape(3, 1000) % 17 - 8
    projection = Projection(1000, "seed", 256)
    answer, records = Answer.of(v[0] / 7, projection), Signs.of(v, projection)
    found = hashlib.sha256(projection(v / 7).tobytes() + records.signs.tobytes() + answer.values.tobytes())
    assert found.hexdigest() == "60716e0e558d8ed3d0a090dc2360d57994ee61aee76c2da00b37e8769b9f6118"
    assert records.scales == pytest.approx([12.711267, 12.50983, 11.765288], rel=1e-6)


def test_chunks_rows_and_precision_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    projection, v = Projection(P, "s", K), vectors(1, rows=3).astype(np.float32)
    whole = projection(v)
    monkeypatch.setattr(sketch, "DRAWN", 7)
    assert np.array_equal(projection(v), whole)
    assert np.array_equal(projection(v[1:2].astype(np.float64)), whole[1:2])


@given(SEEDS, FACTORS, FACTORS)
def test_is_linear(seed: int, a: float, b: float) -> None:
    x, y = vectors(seed)
    projection = Projection(P, str(seed), K)
    sx, sy, both = projection(np.stack([x, y, a * x + b * y]))
    assert np.allclose(both, a * sx + b * sy, rtol=1e-9, atol=1e-9 * (abs(a) + abs(b)) * np.abs([sx, sy]).max())


def test_another_seed_is_another_projection() -> None:
    v = vectors(0)
    assert not np.allclose(Projection(P, "a", K)(v), Projection(P, "b", K)(v))


@settings(max_examples=10)
@given(SEEDS, st.floats(-1, 1))
def test_inner_products_are_kept_on_average_with_the_variance_of_theory(seed: int, alike: float) -> None:
    x, y = vectors(seed)
    y = alike * x + (1 - abs(alike)) * y
    true, count = x @ y, 400
    found = np.array([np.prod(Projection(P, f"{seed} {n}", K)(np.stack([x, y])), axis=0).sum() for n in range(count)])
    variance = ((x @ x) * (y @ y) + true**2 - 2 * (x**2 @ y**2)) / K
    assert abs(found.mean() - true) < 5 * np.sqrt(variance / count)
    assert 0.5 < found.var() / variance < 1.8


@settings(max_examples=10)
@given(SEEDS, st.floats(-0.9, 0.9))
def test_one_bit_estimates_without_bias_and_its_error_is_as_stated(seed: int, alike: float) -> None:
    x, y = vectors(seed)
    y = alike * x / np.linalg.norm(x) + (1 - abs(alike)) * y / np.linalg.norm(y)
    true, count, length = x @ y, 200, np.linalg.norm(x) * np.linalg.norm(y)
    found, stated = [], []
    for n in range(count):
        projection = Projection(P, f"{seed} {n}", K)
        answer, record = Answer.of(x, projection), Signs.of(y[None], projection)
        found.append(answer.dots(record)[0])
        stated.append(answer.errors(record)[0])
    assert np.mean(stated) == pytest.approx(length * np.sqrt(np.pi / 2 / K), rel=0.05)
    assert abs(np.mean(found) - true) < 5 * np.mean(stated) / np.sqrt(count) + 0.01 * abs(true)
    assert np.std(found) < 1.25 * np.mean(stated)


@pytest.mark.parametrize("place", (0, P - 1))
def test_a_vector_of_one_entry_is_sketched_as_well_as_any(place: int) -> None:
    """Buckets alone would leave one that says something."""
    spike = np.zeros((1, P))
    spike[0, place] = 3.0
    projection = Projection(P, "s", K)
    others = vectors(4, rows=200)
    errors = [Answer.of(v, projection).dots(Signs.of(spike, projection))[0] - 3 * v[place] for v in others]
    bound = 3 * np.linalg.norm(others, axis=1) / np.sqrt(K)
    assert np.std(errors / bound) < 1.5
    assert Answer.of(spike[0], projection).dots(Signs.of(spike, projection))[0] == pytest.approx(9, rel=0.01)


@given(SEEDS, st.integers(1, 200))
def test_counting_bits_is_the_sum_over_signs(seed: int, records: int) -> None:
    projection = Projection(40, str(seed), 128)
    answer, rows = Answer.of(vectors(seed, 1, 40)[0], projection), Signs.of(vectors(seed + 1, records, 40), projection)
    signs = rows[slice(None), slice(None)]
    assert signs.shape == rows.shape == (records, 128)
    assert np.allclose(answer.dots(rows), signs @ answer.values, rtol=1e-12, atol=1e-9)


@given(SEEDS, st.floats(1e-12, 1e12))
def test_an_answer_is_rounded_by_half_a_unit_at_most(seed: int, unit: float) -> None:
    projection, v = Projection(P, "s", K), vectors(seed, 1)[0] * unit
    answer, exact = Answer.of(v, projection), projection(v[None])[0]
    assert answer.unit == pytest.approx(np.abs(exact).max() / 31)
    assert np.abs(answer.values - exact).max() <= answer.unit * 0.5000001
    assert np.abs(answer.coordinates).max() == 31


def test_zero_says_nothing() -> None:
    projection, v = Projection(P, "s", K), vectors(0)
    zero = np.zeros((1, P))
    assert np.array_equal(Answer.of(zero[0], projection).dots(Signs.of(v, projection)), [0, 0])
    assert np.array_equal(Answer.of(v[0], projection).dots(Signs.of(zero, projection)), [0])


def test_what_cannot_be_sketched_is_refused() -> None:
    projection = Projection(P, "s", K)
    for bad in (np.nan, np.inf, 1e308, 1e40):
        v = vectors(0)
        v[1, 3:6] = bad
        for make in (lambda v: Signs.of(v, projection), lambda v: Answer.of(v[1], projection)):
            with pytest.raises(SketchError, match="NaN or infinity, or is too long"):
                make(v)
    with pytest.raises(SketchError, match="expected vectors of 900"):
        projection(vectors(0, size=P - 1))
    for bits in (0, -64, 100, 2**21):
        with pytest.raises(SketchError, match="multiple of 64"):
            Projection(P, "s", bits)
