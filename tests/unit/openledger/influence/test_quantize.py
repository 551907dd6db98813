from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.influence.quantize import BLOCK, NAT, ROWS, Quantised, QuantizeError, agreement, dot, quantise, to_units

SIZES = (3, 1, 5)
VALUES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=9, max_size=9)
MANTISSAS = st.lists(st.integers(-128, 127), min_size=9, max_size=9)
EXPONENTS = st.lists(st.integers(-32, 127), min_size=3, max_size=3)


def parts(vector: np.ndarray) -> list[np.ndarray]:
    return np.split(vector, np.cumsum(SIZES)[:-1])


def as_quantised(mantissas: list[int], exponents: list[int]) -> Quantised:
    return Quantised(np.array(mantissas, dtype=np.int8), np.array(exponents, dtype=np.int8), SIZES)


@given(VALUES)
def test_error_is_at_most_half_a_step_and_the_exponent_is_the_smallest(values: list[float]) -> None:
    vector = np.array(values)
    quantised = quantise(vector, SIZES)
    for part, back, exponent in zip(parts(vector), parts(quantised.to_float()), quantised.exponents, strict=True):
        assert np.abs(part - back).max() <= 2.0 ** (int(exponent) - 1)
        fits_one_smaller = np.rint(np.abs(part).max() / 2.0 ** (int(exponent) - 1)) <= 127
        assert exponent == -32 or not fits_one_smaller


@given(VALUES)
def test_quantising_is_idempotent_and_survives_bytes(values: list[float]) -> None:
    quantised = quantise(np.array(values), SIZES)
    assert Quantised.from_bytes(quantised.to_bytes(), SIZES).to_bytes() == quantised.to_bytes()
    assert quantise(quantised.to_float(), SIZES).to_bytes() == quantised.to_bytes()


@given(MANTISSAS, EXPONENTS, MANTISSAS, EXPONENTS)
def test_dot_equals_big_integer_arithmetic(m1: list[int], e1: list[int], m2: list[int], e2: list[int]) -> None:
    row, vector = as_quantised(m1, e1), as_quantised(m2, e2)
    tensor = [0] * 3 + [1] + [2] * 5
    expected = sum(a * b * 2 ** (e1[t] + e2[t] + 64) for a, b, t in zip(m1, m2, tensor, strict=True))
    assert dot(row.mantissas[None], row.exponents[None], vector) == [expected]


def plainly(mantissas: np.ndarray, exponents: np.ndarray, vector: Quantised) -> list[int]:
    """The definition, in Python's integers."""
    tensor = np.repeat(np.arange(len(vector.sizes)), vector.sizes).tolist()
    factors, theirs = vector.mantissas.tolist(), vector.exponents.tolist()
    return [
        sum(a * b << own[t] + theirs[t] + 64 for a, b, t in zip(row, factors, tensor, strict=True))
        for row, own in zip(mantissas.tolist(), exponents.tolist(), strict=True)
    ]


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.sampled_from((0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3)), min_size=1, max_size=4),
    rows=st.sampled_from((0, 1, 3)),
    values=st.sampled_from(((-128, 128), (-128, -127), (127, 128), (-1, 2))),
    scales=st.sampled_from(((-32, 128), (127, 128), (-32, -31), (-20, -16))),
)
def test_dot_equals_the_definition_across_blocks_and_extremes(
    seed: int, sizes: list[int], rows: int, values: tuple[int, int], scales: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    mantissas = rng.integers(*values, (rows + 1, sum(sizes)), dtype=np.int8)
    exponents = rng.integers(*scales, (rows + 1, len(sizes)), dtype=np.int8)
    vector = Quantised(mantissas[-1], exponents[-1], tuple(sizes))
    assert dot(mantissas[:-1], exponents[:-1], vector) == plainly(mantissas[:-1], exponents[:-1], vector)


def test_dot_equals_the_definition_for_more_rows_than_are_taken_at_a_time() -> None:
    rng = np.random.default_rng(0)
    mantissas = rng.integers(-128, 128, (2 * ROWS + 5, 9), dtype=np.int8)
    exponents = rng.integers(-32, 128, (2 * ROWS + 5, 3), dtype=np.int8)
    vector = as_quantised(mantissas[0].tolist(), [-30, 5, 127])
    assert dot(mantissas, exponents, vector) == plainly(mantissas, exponents, vector)


def test_dot_is_exact_for_many_extreme_entries() -> None:
    size = 200_001
    row = Quantised(np.full(size, -128, np.int8), np.array([0], np.int8), (size,))
    assert dot(row.mantissas[None], row.exponents[None], row) == [128 * 128 * size * NAT]


def test_dot_holds_few_rows_in_memory_at_a_time() -> None:
    wide = np.ones((400, 50_000), np.int8)
    vector = Quantised(wide[0], np.zeros(1, np.int8), (50_000,))
    tracemalloc.start()
    try:
        dot(wide, np.zeros((400, 1), np.int8), vector)
        assert tracemalloc.get_traced_memory()[1] < wide.nbytes / 10
    finally:
        tracemalloc.stop()


def test_dot_approximates_the_real_product() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 9)) * 1e-3
    product = dot(quantise(a, SIZES).mantissas[None], quantise(a, SIZES).exponents[None], quantise(b, SIZES))[0] / NAT
    assert product == pytest.approx(float(a @ b), abs=0.02 * float(np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
def test_non_finite_values_are_refused(bad: float) -> None:
    with pytest.raises(QuantizeError, match="NaN or infinity"):
        quantise(np.array([0.0, bad]), (2,))


def test_wrong_shapes_and_ranges_are_refused() -> None:
    with pytest.raises(QuantizeError, match="vector of 9"):
        quantise(np.zeros(8), SIZES)
    with pytest.raises(QuantizeError, match="below -32"):
        as_quantised([0] * 9, [-33, 0, 0])
    with pytest.raises(QuantizeError, match="int8"):
        Quantised(np.zeros(9, np.int16), np.zeros(3, np.int8), SIZES)  # type: ignore[arg-type]
    with pytest.raises(QuantizeError, match="shapes"):
        as_quantised([0] * 8, [0, 0, 0])
    with pytest.raises(QuantizeError, match="12 bytes"):
        Quantised.from_bytes(b"\0" * 11, SIZES)
    with pytest.raises(QuantizeError, match="too large"):
        quantise(np.array([1e300]), (1,))


def test_agreement_counts_entries_more_than_one_step_apart() -> None:
    ours = as_quantised([10] * 9, [-20] * 3)
    assert agreement(ours, as_quantised([11] * 9, [-20] * 3)) == 1.0
    assert agreement(ours, as_quantised([12] + [10] * 8, [-20] * 3)) == pytest.approx(8 / 9)
    assert agreement(ours, as_quantised([5] * 9, [-19] * 3)) == 1.0
    with pytest.raises(QuantizeError, match="layouts"):
        agreement(ours, Quantised(ours.mantissas, np.zeros(1, np.int8), (9,)))


def test_units() -> None:
    assert to_units(1.0) == NAT
    assert to_units(-0.5) == -NAT // 2
    assert to_units(2.0**-32) == 2**32
    assert to_units(2.0**-40) == 0
    with pytest.raises(QuantizeError):
        to_units(float("nan"))
