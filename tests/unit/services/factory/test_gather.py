from __future__ import annotations

import pytest

from openledger.artifacts import ArtifactStore
from services.factory import store_snapshots
from services.factory.gather import Gatherer
from services.factory.lines import parse
from services.factory.model import JobFailed
from services.factory.run import SnapshotPin
from tests.factory_world import SECOND, SNAPSHOT, ListSource, root_of, snapshot_records


@pytest.fixture
def source():
    source = ListSource(snapshot_records(6, 2))
    source.others[SECOND] = snapshot_records(6, 2, start=4)
    return source


@pytest.fixture
def gatherer(database, source, tmp_path):
    return Gatherer(database, source, ArtifactStore(tmp_path / "records"))


@pytest.fixture
def pins(source):
    return (SnapshotPin(SNAPSHOT, root_of(source.made)), SnapshotPin(SECOND, root_of(source.others[SECOND])))


async def test_snapshots_are_put_together_with_every_record_once(gatherer, pins, source):
    done = await gatherer.gather(pins, 5.0, anew=True)
    names = [record.name for record in parse(gatherer.kept.get(done.digest))]
    assert len(names) == len(set(names)) == 10
    assert done.licences == {SNAPSHOT: {"": 6}, SECOND: {"": 6}}


async def test_what_was_read_is_read_again_only_when_asked(gatherer, pins, source):
    await gatherer.gather(pins, 5.0, anew=False)
    await gatherer.gather(pins, 5.0, anew=False)
    assert source.starts == [0, 0]
    await gatherer.gather(pins, 5.0, anew=True)
    assert source.starts == [0, 0, 0, 0]


async def test_records_that_got_lost_are_read_again(gatherer, pins, source, database):
    await gatherer.gather(pins, 5.0, anew=False)
    kept = database.read_now(lambda c: store_snapshots.find_snapshot(c, pins[0]))
    gatherer.kept.path(kept.digest).unlink()
    await gatherer.gather(pins, 5.0, anew=False)
    assert source.starts == [0, 0, 0]


async def test_nothing_is_gathered_that_holds_an_erased_record(gatherer, pins, source, database):
    await gatherer.gather(pins, 5.0, anew=False)
    shared = source.made[5].name
    database.write_now(lambda c: store_snapshots.add_erased(c, shared, "its author's wish"))
    for anew in (False, True):
        with pytest.raises(JobFailed) as failed:
            await gatherer.gather(pins, 5.0, anew=anew)
        assert failed.value.reason == "RECORD_ERASED"
        assert shared in failed.value.message


async def test_one_snapshot_that_is_not_what_was_frozen_spoils_the_run(gatherer, pins, source):
    source.others[SECOND].pop()
    with pytest.raises(JobFailed) as failed:
        await gatherer.gather(pins, 5.0, anew=True)
    assert failed.value.reason == "ROOT_MISMATCH"
    assert SECOND in failed.value.message
