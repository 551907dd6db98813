from __future__ import annotations

from dataclasses import replace

import pytest

from openledger.artifacts import ArtifactStore
from openledger.base_model_shape import BaseModelShape
from services.factory.admit import Admission
from services.factory.data import Example
from services.factory.estimate import (
    ASSUMED_START_SECONDS,
    ASSUMED_TOKENS_PER_SECOND,
    RETRAINING_START_SECONDS,
    Estimator,
    Tariff,
    counterfactual_seconds,
    parts_seconds,
    scaled,
    seconds,
)
from services.factory.gather import Gatherer
from services.factory.model import Metrics
from services.factory.run import Run, SnapshotPin
from services.factory.spec import FineTuneSpec
from services.kit.errors import Fault
from tests.factory_world import SECOND, SNAPSHOT, ListSource, address, snapshot_records

LAST = Metrics(10, 1, {}, 2, 2.0, 1.0, train_tokens=1000, seconds=4.0)


def test_before_any_run_seconds_are_assumed():
    assert seconds(2000, None) == ASSUMED_START_SECONDS + 2000 / ASSUMED_TOKENS_PER_SECOND


def test_after_a_run_seconds_are_judged_by_it():
    assert seconds(500, LAST) == 2.0


@pytest.mark.parametrize("last", (replace(LAST, train_tokens=0), replace(LAST, seconds=0.0)))
def test_a_run_that_measured_nothing_is_no_measure(last):
    assert seconds(0, last) == ASSUMED_START_SECONDS


@pytest.mark.parametrize(("tokens", "price"), ((0, 0), (1000, 7), (1001, 8), (1, 1)))
def test_a_price_is_for_every_token_and_rounded_up(tokens, price):
    assert Tariff(7, 60.0).price(tokens) == price


def test_trainings_again_are_judged_by_the_last_run_and_by_what_they_leave_out():
    spec = FineTuneSpec(leave_one_out=True, curvature_samples=1)
    alone = counterfactual_seconds(spec, 3, 1000, LAST, 1)
    assert alone == pytest.approx(4 * RETRAINING_START_SECONDS + 3 * 4.0 * 2 / 4)
    assert counterfactual_seconds(spec, 3, 1000, LAST, 2) == pytest.approx(alone / 2)
    assert counterfactual_seconds(spec, 3, 1000, None, 1) > alone
    assert counterfactual_seconds(spec, 1, 1000, LAST, 1) == counterfactual_seconds(FineTuneSpec(), 9, 9, LAST, 1) == 0


def test_another_specification_is_judged_by_how_much_more_or_less_a_token_of_it_costs(base):
    shape, usual = BaseModelShape.read(base), FineTuneSpec(layers=2)
    example = [Example("r", "", (1, 2, 3), (4,))]

    def ratio(**changes):
        return scaled((usual, LAST), replace(usual, **changes), shape, example).seconds / LAST.seconds

    assert scaled(None, usual, shape, example) is None
    assert ratio() == ratio(rank=16) == 1
    assert ratio(layers=1) < 1 < ratio(layers=0)
    assert ratio(curvature_samples=8) > 1.5
    assert ratio(curvature_samples=8, curvature_share=0.5) == pytest.approx(1)
    assert 1.1 < ratio(dora=True) < 1.18
    assert ratio(epochs=30) < 1, "the frozen layers are computed once"


@pytest.fixture
def source():
    source = ListSource(snapshot_records(12, 3))
    source.others[SECOND] = snapshot_records(12, 3, start=8)
    return source


@pytest.fixture
def estimate(database, offered, source, tmp_path):
    """Estimates a run on the snapshots."""
    admission = Admission(source, (offered,), {})
    gatherer = Gatherer(database, source, ArtifactStore(tmp_path / "records"))
    estimator = Estimator(database, admission, gatherer, Tariff(1000, 3600.0))

    async def of(spec, *snapshots):
        run = Run("letters", tuple(map(SnapshotPin, snapshots or (SNAPSHOT,))), replace(spec, base=offered))
        return await estimator.estimate(await admission.admit(run, "0x" + "a" * 40))

    return of


async def test_counts_are_those_of_the_records(estimate, job, source):
    spec = replace(job.spec, held_out=0.25, epochs=2, batch_size=4)
    counted = await estimate(spec)
    assert (counted.records, counted.train_records, counted.held_out_records) == (12, 9, 3)
    assert counted.contributors == {address(1): 3, address(2): 3, address(3): 3}
    assert counted.dropped == ()
    assert counted.steps == 5
    assert counted.train_tokens % 2 == 0
    assert counted.price == counted.train_tokens
    assert counted.outcome.licence == "Apache-2.0"
    assert counted.licences == {"CC0-1.0": 12}
    assert "FEW_RECORDS" in {caution.code for caution in counted.cautions}
    assert await estimate(spec) == counted
    assert source.starts == [0], "the snapshot is read once"


async def test_whose_records_count_as_an_earlier_authors_is_told(estimate, job, source):
    said = {"question": "why?", "answer": "A sac filled with fluid that forms in one of the kidneys."}
    source.others[SECOND] = [replace(r, fields=said) if r.leaf < 2 else r for r in snapshot_records(12, 3)]
    counted = await estimate(replace(job.spec, held_out=0.0), SECOND)
    assert counted.contributors == {address(1): 5, address(2): 3, address(3): 4}
    assert "LIKE_EARLIER_RECORDS" in {caution.code for caution in counted.cautions}


async def test_trainings_again_are_counted_priced_and_told(estimate, job):
    plain, counted = await estimate(job.spec), await estimate(replace(job.spec, leave_one_out=True))
    assert (plain.counterfactual_tokens, plain.counterfactual_seconds) == (0, 0)
    assert counted.counterfactual_tokens == 3 * plain.train_tokens
    assert counted.price == 4 * plain.price
    assert counted.seconds == pytest.approx(plain.seconds + counted.counterfactual_seconds)
    [told] = [caution for caution in counted.cautions if caution.code == "TRAINED_AGAIN"]
    assert "trained again 4 times" in told.message


async def test_further_parts_are_counted_priced_and_told(estimate, job):
    plain, counted = await estimate(job.spec), await estimate(replace(job.spec, contributors_at_once=1))
    assert (plain.parts, plain.parts_seconds) == (1, 0)
    assert counted.parts == 3
    assert counted.train_tokens == plain.train_tokens, "of one training"
    assert counted.price == 3 * plain.price
    assert counted.seconds == pytest.approx(plain.seconds + counted.parts_seconds)
    assert counted.memory_bytes < plain.memory_bytes
    assert "IN_PARTS" in {caution.code for caution in counted.cautions}


def test_parts_take_as_long_as_the_run_and_run_at_once():
    assert parts_seconds(1, 1000, LAST, 1) == 0
    assert parts_seconds(5, 1000, LAST, 1) == pytest.approx(4 * parts_seconds(2, 1000, LAST, 1))
    assert parts_seconds(5, 1000, LAST, 3) == pytest.approx(2 * parts_seconds(2, 1000, LAST, 1))


async def test_what_cannot_be_used_is_told_with_an_example(estimate, job, source):
    counted = await estimate(replace(job.spec, max_length=41, prompt_template="Which is {question}"))
    [dropped] = counted.dropped
    assert (dropped.code, dropped.records) == ("TOO_LONG", 2)
    assert dropped.example == source.made[10].name
    assert "at most 41 fit" in dropped.reason


async def test_what_the_base_model_has_no_room_for_is_told_as_it_would_be_left_out(estimate, job, base):
    context = BaseModelShape.read(base).context
    long = "Say " + "x" * context + " {question}"
    counted = await estimate(replace(job.spec, max_length=8192, prompt_template=long))
    [dropped] = counted.dropped
    assert (dropped.code, dropped.records, counted.train_records) == ("TOO_LONG", 12, 0)
    assert f"at most {context} fit" in dropped.reason


async def test_of_two_snapshots_every_record_counts_once(estimate, job):
    counted = await estimate(job.spec, SNAPSHOT, SECOND)
    assert counted.records == 20
    assert counted.licences == {"CC0-1.0": 24}


async def test_a_snapshot_that_is_not_what_was_frozen_has_no_estimate(estimate, job, source):
    source.made.pop()
    with pytest.raises(Fault) as fault:
        await estimate(job.spec)
    assert fault.value.reason == "ROOT_MISMATCH"
