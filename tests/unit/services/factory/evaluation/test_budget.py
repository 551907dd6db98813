from __future__ import annotations

import pytest

from services.factory.data import Example
from services.factory.evaluation.budget import Budget, batches, in_turn, shuffled, within


def example(record: str, contributor: str = "0xa") -> Example:
    return Example(record, contributor, (1,), (2,))


EXAMPLES = [example(f"r{i}", f"0x{i % 3}") for i in range(12)]


def test_a_negative_bound_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="trivia must not be negative, got -1"):
        Budget(trivia=-1)


def test_the_order_depends_on_seed_and_names_alone() -> None:
    assert shuffled(EXAMPLES, 1) == shuffled(EXAMPLES[::-1], 1)
    assert shuffled(EXAMPLES, 1) != shuffled(EXAMPLES, 2)
    assert shuffled(EXAMPLES, 1) != EXAMPLES


def test_contributors_take_turns() -> None:
    order = [e.contributor for e in in_turn(EXAMPLES, 5)]
    assert all(len(set(order[k : k + 3])) == 3 for k in range(0, 12, 3))
    assert sorted(in_turn(EXAMPLES, 5), key=lambda e: e.record) == sorted(EXAMPLES, key=lambda e: e.record)


@pytest.mark.parametrize(
    ("lengths", "tokens", "fit"),
    (([], 5, 0), ([5, 5], 10, 2), ([5, 6], 10, 1), ([11, 1], 10, 1), ([4, 9, 1], 10, 1), ([3], 0, 0)),
)
def test_as_many_as_fit_and_at_least_one(lengths: list[int], tokens: int, fit: int) -> None:
    assert within(lengths, tokens) == fit


def test_batches_hold_everything_once_and_stay_within_their_size() -> None:
    lengths = [7, 1, 30, 4, 4, 9, 2, 100]
    groups = list(batches(lengths, 32))
    assert sorted(i for group in groups for i in group) == list(range(8))
    assert all(len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 32 for group in groups)
    assert len(groups) < 8
    assert not list(batches([], 32))
