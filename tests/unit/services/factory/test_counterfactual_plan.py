from __future__ import annotations

from dataclasses import replace

import pytest

from services.factory import counterfactual_plan as plans
from services.factory import trunk_task
from services.factory.counterfactual_plan import TooFewContributors, check, draw, plan, tokens, trainings
from services.factory.spec import FineTuneSpec
from services.kit.executor import Shard

RUN = Shard("services.factory.task:fine_tune", {"spec": FineTuneSpec().to_json(), "records": "aa" * 32})
PEOPLE = ("0xd", "0xb", "0xa", "0xc", "0xe")


def of(spec, people=PEOPLE, steps=7, run=RUN):
    return plan(run, spec, people, steps)


def test_everybody_each_one_left_out_and_halves_are_trained_again():
    made = of(FineTuneSpec(leave_one_out=True, halves=4))
    without = [shard.arguments["without"] for shard in made.retrainings]
    assert without[:6] == [[], ["0xa"], ["0xb"], ["0xc"], ["0xd"], ["0xe"]]
    assert [len(who) for who in without[6:]] == [3] * 4
    for mask, who in zip(made.fit.arguments["masks"], without[6:], strict=True):
        assert [name for name, member in zip(sorted(PEOPLE), mask, strict=True) if member == "0"] == who
    digests = [shard.digest() for shard in made.retrainings]
    assert [*made.fit.arguments["everybody"], *made.fit.arguments["left_out"], *made.fit.arguments["halves"]] == digests
    assert len(set(digests)) == 10


def test_only_what_is_asked_for_is_trained():
    assert len(of(FineTuneSpec(leave_one_out=True)).retrainings) == 6
    assert len(of(FineTuneSpec(halves=5)).retrainings) == 5
    assert of(FineTuneSpec(halves=5)).fit.arguments["left_out"] == []


def test_who_asks_for_more_later_finds_what_was_made():
    few, more = of(FineTuneSpec(halves=4)), of(FineTuneSpec(halves=8, leave_one_out=True))
    assert few.retrainings == more.retrainings[-8:-4]
    assert few.trunk == more.trunk == trunk_task.shard(RUN.arguments)
    assert few.fit.digest() != more.fit.digest()


def test_whatever_decides_a_training_again_names_it():
    spec = FineTuneSpec(leave_one_out=True)
    first = of(spec).retrainings[1].digest()
    assert first == of(spec, PEOPLE[::-1]).retrainings[1].digest(), "the order of the people is none of it"
    others = {
        of(spec, steps=6).retrainings[1].digest(),
        of(spec, run=replace(RUN, arguments=RUN.arguments | {"records": "bb" * 32})).retrainings[1].digest(),
    }
    assert len({first, *others}) == 3


def test_where_every_layer_is_adapted_nothing_is_computed_once():
    every = FineTuneSpec(leave_one_out=True, layers=0)
    assert of(every, run=replace(RUN, arguments={"spec": every.to_json()})).trunk is None


def test_halves_are_all_different_however_many_are_asked_for():
    masks = draw(4, 200, seed=0)
    assert len(masks) == 6
    assert len({mask.tobytes() for mask in masks}) == 6
    assert (masks.sum(1) == 2).all()
    assert draw(5, 0, seed=0).shape == (0, 5)
    assert (draw(9, 4, seed=5) == draw(9, 16, seed=5)[:4]).all()


@pytest.mark.parametrize(
    ("changes", "contributors", "needs"),
    (
        ({}, 0, ""),
        ({"leave_one_out": True}, 1, "leave_one_out needs the records of at least 2 contributors"),
        ({"leave_one_out": True}, 2, ""),
        ({"halves": 4}, 3, "halves needs the records of at least 4 contributors, and there are 3"),
        ({"halves": 4, "leave_one_out": True}, 3, "halves needs"),
        ({"halves": 4}, 4, ""),
    ),
)
def test_too_few_contributors_are_told(changes, contributors, needs):
    spec = FineTuneSpec(**changes)
    if not needs:
        check(spec, contributors)
        return
    with pytest.raises(TooFewContributors, match=needs):
        check(spec, contributors)
    assert trainings(spec, contributors) == tokens(spec, contributors, 600) == 0


def test_trainings_again_are_counted_as_they_are_planned():
    for spec in (FineTuneSpec(), FineTuneSpec(halves=40, leave_one_out=True), FineTuneSpec(halves=4)):
        assert trainings(spec, 5) == len(of(spec).retrainings)
    assert tokens(FineTuneSpec(leave_one_out=True), 3, 600) == 600 + 3 * 400
    assert tokens(FineTuneSpec(halves=4), 4, 600) == 4 * 300
    assert tokens(FineTuneSpec(halves=200), 4, 600) == 6 * 300


def test_a_token_costs_less_the_more_the_run_itself_samples():
    assert plans.cost(FineTuneSpec(curvature_samples=8)) < plans.cost(FineTuneSpec(curvature_samples=1)) < 1
