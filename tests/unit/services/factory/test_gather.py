from __future__ import annotations

import os

import pytest

from openledger.artifacts import ArtifactStore
from services.factory import erase, gather, store_snapshots
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
    names = [record.name for record in parse(gatherer.kept.get(done))]
    assert len(names) == len(set(names)) == 10


async def test_what_was_read_is_read_again_only_when_asked(gatherer, pins, source):
    await gatherer.gather(pins, 5.0, anew=False)
    await gatherer.gather(pins, 5.0, anew=False)
    assert source.starts == [0, 0]
    await gatherer.gather(pins, 5.0, anew=True)
    assert source.starts == [0, 0, 0, 0]


async def test_records_that_got_lost_are_read_again(gatherer, pins, source, database):
    await gatherer.gather(pins, 5.0, anew=False)
    kept = database.read_now(lambda c: store_snapshots.find_snapshot(c, pins[0]))
    gatherer.kept.path(kept).unlink()
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


def texts(gatherer):
    """Everything that is written in the folder of kept records, whole or not."""
    return b"".join(file.read_bytes() for file in gatherer.kept.root.rglob("*") if file.is_file())


async def test_no_text_stays_that_was_written_after_its_erasure_had_looked_for_it(
    gatherer, pins, source, database, monkeypatch
):
    await gatherer.gather(pins, 5.0, anew=True)
    record, put_file = source.made[1].name, gatherer.kept.put_file

    def erased_first(file):
        erase_now(database, gatherer.kept, record)
        return put_file(file)

    monkeypatch.setattr(gatherer.kept, "put_file", erased_first)
    with pytest.raises(JobFailed, match="erased"):
        await gatherer.gather(pins, 5.0, anew=True)
    assert record.encode() not in texts(gatherer)
    assert database.read_now(lambda c: store_snapshots.find_snapshot(c, pins[0])) is None


async def test_no_text_stays_that_was_put_together_after_its_erasure_had_looked_for_it(
    gatherer, pins, source, database, monkeypatch
):
    record, merge = source.made[1].name, gather.merge

    def erased_meanwhile(kept, digests):
        read = [kept.get(digest) for digest in digests]
        erase_now(database, kept, record)
        return merge(kept, [kept.put(content) for content in read])

    monkeypatch.setattr(gather, "merge", erased_meanwhile)
    with pytest.raises(JobFailed, match="erased"):
        await gatherer.gather(pins, 5.0, anew=True)
    assert record.encode() not in texts(gatherer)


def erase_now(database, kept, record):
    database.write_now(lambda c: erase.note(c, record, "its author's wish"))
    erase.remove_texts(kept, record)


async def test_what_killed_readers_left_of_texts_is_swept(gatherer, pins):
    done = await gatherer.gather(pins, 5.0, anew=True)
    whole = gatherer.kept.path(done)
    left = [gatherer.kept.root / ".reading-x", gatherer.kept.root / ".merging-x", whole.with_name(".new-x")]
    for file in left:
        file.write_bytes(b"texts")
    gatherer.sweep()
    assert not any(file.exists() for file in left)
    assert whole.exists()


async def test_what_is_used_again_counts_as_used_now(gatherer, pins, database):
    await gatherer.gather(pins, 5.0, anew=False)
    kept = database.read_now(lambda c: store_snapshots.find_snapshot(c, pins[0]))
    os.utime(gatherer.kept.path(kept), (0, 0))
    await gatherer.gather(pins, 5.0, anew=False)
    assert gatherer.kept.path(kept).stat().st_mtime > 0
