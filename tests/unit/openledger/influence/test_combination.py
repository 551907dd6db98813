"""The sum of adapters as one: exact, always the same, and the chain rule through it; what is no sum is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.influence import combination, index
from openledger.influence.adapter_config import ALL_LINEAR
from openledger.influence.combination import CombinationError
from openledger.influence.index import ContributionIndex, Header
from openledger.influence.quantize import quantise
from openledger.influence.score import scores
from tests.combining import LAYERS, MAPS, PEOPLE, A, B, deltas, parent, vectors

ANNE, BERT, CLEO = PEOPLE
ROUNDING = 2.0**-24
"""Of float32, relative."""

parents = st.lists(
    st.builds(
        parent,
        weight_bps=st.integers(1, 100_000),
        rank=st.integers(1, 5),
        seed=st.integers(0, 99),
        alpha=st.sampled_from([1, 4, 0.3, 16]),
        rslora=st.booleans(),
    ),
    min_size=2,
    max_size=5,
).map(lambda found: [replace(each, name=f"p{number}") for number, each in enumerate(found)])


@given(parents)
def test_the_product_of_the_factors_is_the_sum_of_the_deltas(found) -> None:
    made, config = combination.weights(found), combination.config(found)
    assert config.scaling == 1.0
    assert config.rank == sum(each.config.rank for each in found)
    for layer in LAYERS:
        for path in MAPS:
            a, b = (made[name.format(layer, path)] for name in (A, B))
            assert (a.dtype, a.shape[0], b.shape[1]) == (np.float32, config.rank, config.rank)
            product, exact = b.astype(float) @ a.astype(float), deltas(found, layer, path)
            bound = 1.01 * ROUNDING * np.abs(b).astype(float) @ np.abs(a).astype(float) + 1e-12
            assert (np.abs(product - exact) <= bound).all()


def test_factors_that_are_powers_of_two_leave_every_bit() -> None:
    one, two = parent(seed=1), parent("two", 2_500, seed=2, rank=3)
    made = combination.weights([one, two])
    for layer in LAYERS:
        for path in MAPS:
            a, b = A.format(layer, path), B.format(layer, path)
            assert np.array_equal(made[a], np.vstack([one.tensors[a], two.tensors[a]]))
            assert np.array_equal(made[b], np.hstack([one.tensors[b], two.tensors[b] / 2]))


def test_the_same_parents_give_the_same_bytes() -> None:
    found = [[parent(seed=1), parent("two", 3_333, seed=2)] for _ in range(2)]
    first, second = (combination.weights(each) for each in found)
    assert {name: t.tobytes() for name, t in first.items()} == {name: t.tobytes() for name, t in second.items()}
    indices = [vectors(each, PEOPLE) for each in found[0]]
    assert combination.index(found[0], indices).to_bytes() == combination.index(found[1], indices).to_bytes()


@given(parents, st.integers(0, 99))
def test_a_score_is_the_sum_of_what_the_parents_vectors_score_in_their_own_parameters(found, seed) -> None:
    """<grad, J D> = <J^T grad, D>: rows of A's gradient as they are, columns of B's times what B was multiplied by."""
    random = np.random.default_rng(seed)
    indices = [vectors(each, people, seed=seed) for each, people in zip(found, _people(found), strict=True)]
    made = combination.index(found, indices)
    gradient = {p.name: random.normal(size=p.shape) for p in made.header.parameters}
    flat = np.concatenate([gradient[p.name].reshape(-1) for p in made.header.parameters])
    start, expected = 0, dict.fromkeys(made.header.contributors, 0.0)
    for each, own in zip(found, indices, strict=True):
        end = start + each.config.rank
        factor = each.weight_bps / 10_000 * each.config.scaling
        parts = [
            gradient[p.name][start:end] if "lora_A" in p.name else factor * gradient[p.name][:, start:end]
            for p in each.parameters
        ]
        pulled = np.concatenate([part.reshape(-1) for part in parts])
        for row, who in enumerate(own.header.contributors):
            expected[who] += float(own.row(row).to_float() @ pulled)
        start = end
    assert start == combination.config(found).rank
    for row, who in enumerate(made.header.contributors):
        moved = made.row(row)
        step = np.ldexp(0.5, np.repeat(moved.exponents.astype(int), moved.sizes))  # of rounding to int8 once more
        assert abs(float(moved.to_float() @ flat) - expected[who]) <= float(step @ np.abs(flat)) + 1e-9


def _people(found):
    """Anne is in all of them, the others in one each or in none."""
    return [(ANNE, PEOPLE[1 + number % 2]) if number < 2 else (ANNE,) for number in range(len(found))]


def test_rows_are_the_parents_own_where_nothing_has_to_be_rounded() -> None:
    one, two = parent(seed=1), parent("two", 5_000, seed=2, rank=3)
    mine, other = vectors(one, (ANNE,), seed=1), vectors(two, (BERT, CLEO), placebos=2, seed=2)
    made = combination.index([one, two], [mine, other])
    assert (made.header.contributors, made.header.placebos) == (PEOPLE, 3)
    entries = [np.abs(made.row(row).to_float()).sum() for row in range(made.header.rows)]
    own = [np.abs(found.row(row).to_float()).sum() for found, row in
           ((mine, 0), (other, 0), (other, 1), (mine, 1), (other, 2), (other, 3))]  # fmt: skip
    assert entries == own, "factors of 1: nothing is changed and nothing lost"
    random = np.random.default_rng(0)
    gradient = quantise(random.normal(size=sum(made.header.sizes)), made.header.sizes)
    found = scores(gradient, made)
    assert found.contributors.keys() == set(PEOPLE)
    assert all(found.contributors.values())
    assert len(found.placebos) == 3


def test_whoever_is_in_none_of_a_parent_has_nothing_in_its_block() -> None:
    one, two = parent(seed=1), parent("two", seed=2)
    made = combination.index([one, two], [vectors(one, (ANNE,)), vectors(two, (BERT,))])
    pieces = np.split(made.row(0).to_float(), np.cumsum(made.header.sizes)[:-1])
    for parameter, piece in zip(made.header.parameters, pieces, strict=True):
        block = piece.reshape(parameter.shape)
        mine, theirs = (block[:2], block[2:]) if "lora_A" in parameter.name else (block[:, :2], block[:, 2:])
        assert np.abs(mine).any()
        assert not np.abs(theirs).any()


@pytest.mark.parametrize(
    ("parents", "words"),
    (
        ([parent()], "2 to 8 different revisions"),
        ([parent(), parent()], "name each once"),
        ([parent(str(k), rank=1) for k in range(9)], "2 to 8"),
        ([parent(), parent("two", 0)], "weight of two must be above 0"),
        ([parent(), parent("two", -5)], "weight of two must be above 0"),
        ([parent(), parent("two", 100_001)], "at most 10"),
        ([parent(), parent("two", dora=True)], "two is a DoRA adapter"),
        ([parent(), parent("two", layers=(1, 2))], "the same maps of the same layers"),
        ([parent(), parent("two", target_modules=ALL_LINEAR)], "the same maps of the same layers"),
        ([parent(), parent("two", rank=15)], r"2 \+ 15 = 17, and at most 16 is served"),
    ),
)
def test_what_is_no_sum_that_can_be_served_is_refused(parents, words: str) -> None:
    with pytest.raises(CombinationError, match=words):
        combination.config(parents, max_rank=16)


def test_tensors_and_indexes_that_are_not_the_adapters_are_refused() -> None:
    one, two = parent(), parent("two")
    name = B.format(0, "q_proj")
    for wrong in (
        np.zeros((8, 3), np.float32),
        np.zeros((9, 2), np.float32),
        np.zeros((8, 2)),
        np.zeros(8, np.float32),
    ):
        for pair in ([one, replace(two, tensors={**two.tensors, name: wrong})],
                     [replace(one, tensors={**one.tensors, name: wrong}), two]):  # fmt: skip
            with pytest.raises(CombinationError, match="must be a float32 matrix"):
                combination.weights(pair)
    with pytest.raises(CombinationError, match="do not have the same tensors"):
        combination.weights([one, replace(two, tensors={name: two.tensors[name]})])
    with pytest.raises(CombinationError, match="index of two is not of its weights"):
        combination.index([one, two], [vectors(one, PEOPLE), vectors(parent(rank=3), PEOPLE)])
    huge = replace(two, tensors={n: t * np.float32(1e38) for n, t in two.tensors.items()}, weight_bps=100_000)
    with pytest.raises(CombinationError, match="is no finite number"):
        combination.weights([one, huge])


def test_what_is_beyond_all_measure_is_refused() -> None:
    one, two = parent(), parent("two", 100_000, alpha=2**19)
    header = Header(two.parameters, (ANNE,), 0)
    most = np.full(len(header.sizes), 127, np.int8)
    far = ContributionIndex(header, np.full((1, sum(header.sizes)), 127, np.int8), most[None])
    with pytest.raises(CombinationError, match="beyond all measure"):
        combination.index([one, two], [index.build(one.parameters, {}), far])
