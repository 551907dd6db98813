from __future__ import annotations

from dataclasses import replace

import pytest

from openledger.artifacts import ArtifactStore
from services.factory.admit import Admitted
from services.factory.estimate import ASSUMED_START_SECONDS, ASSUMED_TOKENS_PER_SECOND, estimate, seconds
from services.factory.model import Metrics
from services.kit.errors import Fault
from tests.factory_world import ListSource, address, snapshot_records

LAST = Metrics(10, 1, {}, 2, 2.0, 1.0, train_tokens=1000, seconds=4.0)


def test_before_any_run_seconds_are_assumed():
    assert seconds(2000, None) == ASSUMED_START_SECONDS + 2000 / ASSUMED_TOKENS_PER_SECOND


def test_after_a_run_seconds_are_judged_by_it():
    assert seconds(500, LAST) == 2.0


@pytest.mark.parametrize("last", (replace(LAST, train_tokens=0), replace(LAST, seconds=0.0)))
def test_a_run_that_measured_nothing_is_no_measure(last):
    assert seconds(0, last) == ASSUMED_START_SECONDS


@pytest.fixture
def kept(tmp_path):
    return ArtifactStore(tmp_path / "records")


async def test_counts_are_those_of_the_records(database, job, kept, base):
    spec = replace(job.spec, base=str(base), held_out=0.25, epochs=2)
    source = ListSource(snapshot_records(12, 3))
    counted = await estimate(database, source, kept, spec, Admitted(source.info, "bb" * 32))
    assert counted.records == 12
    assert counted.contributors == {address(1): 3, address(2): 3, address(3): 3}
    assert counted.dropped == {}
    assert counted.train_tokens % 2 == 0
    again = await estimate(database, source, kept, spec, Admitted(source.info, "bb" * 32))
    assert again == counted
    assert source.starts == [0], "the snapshot is read once"


async def test_a_snapshot_that_is_not_what_was_frozen_has_no_estimate(database, job, kept, base):
    source = ListSource(snapshot_records(12, 3))
    source.made.pop()
    with pytest.raises(Fault) as fault:
        await estimate(database, source, kept, replace(job.spec, base=str(base)), Admitted(source.info, "bb" * 32))
    assert fault.value.reason == "ROOT_MISMATCH"
