from __future__ import annotations

import pytest

from services.factory.schedule import batches, curved_records, evaluation_steps, learning_rate
from services.factory.spec import FineTuneSpec


def rates(**settings: object) -> list[float]:
    return [learning_rate(FineTuneSpec(learning_rate=0.001, **settings), step, 20) for step in range(20)]  # type: ignore[arg-type]


def test_every_epoch_takes_every_record_once() -> None:
    plan = batches(FineTuneSpec(epochs=2, batch_size=4), 5)
    assert [len(step) for step in plan] == [4, 4, 2]
    flat = [record for step in plan for record in step]
    assert sorted(flat[:5]) == sorted(flat[5:]) == [0, 1, 2, 3, 4]


def test_learning_rate_warms_up_and_decays() -> None:
    cosine = rates(warm_up=0.15)
    assert cosine[0] == pytest.approx(0.001 / 3)
    assert max(cosine) == cosine[2] <= 0.001
    assert cosine[2:] == sorted(cosine[2:], reverse=True)
    assert cosine[-1] < 1e-5 * 2


def test_linear_decay_and_none() -> None:
    linear = rates(schedule="linear", warm_up=0.0)
    assert linear == pytest.approx([0.001 * (1 - step / 20) for step in range(20)])
    assert rates(schedule="constant", warm_up=0.0) == [0.001] * 20
    assert rates(schedule="constant", warm_up=0.01)[0] == 0.001, "one step at the least"


def test_evaluations_are_spread_evenly_and_the_end_is_not_one_of_them() -> None:
    assert sorted(evaluation_steps(FineTuneSpec(evaluations=4), 100)) == [25, 50, 75]
    assert sorted(evaluation_steps(FineTuneSpec(evaluations=10), 3)) == [1, 2]
    assert not evaluation_steps(FineTuneSpec(evaluations=0), 100)
    assert not evaluation_steps(FineTuneSpec(evaluations=1), 100)


def test_curvature_is_taken_of_a_random_part_that_holds_what_it_must() -> None:
    spec = FineTuneSpec(curvature_share=0.25)
    chosen = [curved_records(spec, step, 16, [3]) for step in range(50)]
    assert all(len(records) == 4 and 3 in records and len(set(records)) == 4 for records in chosen)
    assert {record for records in chosen for record in records} == set(range(16))
    assert curved_records(spec, 7, 16, [3]) == chosen[7]
    assert curved_records(spec, 0, 16, [0, 1, 2, 3, 4, 5]) == [0, 1, 2, 3, 4, 5]
    assert curved_records(FineTuneSpec(), 0, 3, []) == [0, 1, 2]
