"""Several snapshots, their licences, and records that are erased."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from openledger import base_models, manifest
from openledger.artifacts import ArtifactStore
from services.factory import erase, store, store_snapshots
from services.factory import job as jobs
from services.factory.lineage import PRIVATE_EVALUATION
from services.factory.model import State
from services.factory.run import SnapshotPin
from services.kit.executor import Done
from tests.factory_world import SECOND, SNAPSHOT, root_of, snapshot_records
from tests.unit.services.factory.job.conftest import ENDED, HANG, RESULT, at


@pytest.fixture
def two(database, job, source):
    """Puts a fine-tune on two snapshots into the line."""
    source.others[SECOND] = snapshot_records(6, 2, start=4)
    pins = (SnapshotPin(SNAPSHOT, source.info.root), SnapshotPin(SECOND, root_of(source.others[SECOND])))
    database.write_now(lambda c: store.add_fine_tune(c, replace(job, id="a", snapshots=pins), "waiting"))
    return pins


async def test_snapshots_are_trained_on_together(database, two, work, tmp_path):
    async with work() as script:
        done = await at(database, "a", ENDED)
    lines = ArtifactStore(tmp_path / "records").get(script.shards[0].arguments["records"]).splitlines()
    assert len(lines) == 10
    made = manifest.parse(done.manifest)
    assert [(s.name, s.root) for s in made.snapshots] == [(pin.name, pin.root) for pin in two]
    assert (made.licence, made.use) == ("CC-BY-4.0", "commercial")


@pytest.fixture
def on_offer(job, offered):
    """A fine-tune on a base model that the registry knows."""
    return replace(job, base_sha256=base_models.sha256(offered))


async def test_a_fine_tune_of_before_there_was_a_gate_passes_it_now(database, on_offer, work, source):
    old = replace(on_offer, id="a", licence="", snapshots=(SnapshotPin(SNAPSHOT, source.info.root),))
    database.write_now(lambda c: store.add_fine_tune(c, old, "waiting"))
    async with work():
        assert (await at(database, "a", ENDED)).licence == "Apache-2.0"


async def test_a_fine_tune_that_the_gate_refuses_ends_before_training(database, on_offer, work, source):
    old = replace(on_offer, id="a", licence="", snapshots=(SnapshotPin(SNAPSHOT, source.info.root),))
    database.write_now(lambda c: store.add_fine_tune(c, old, "waiting"))
    source.info = replace(source.info, licence="CC-BY-ND-4.0")
    async with work() as script:
        failed = await at(database, "a", ENDED)
    assert (failed.state, failed.reason, script.shards) == (State.FAILED, "LICENCE_FORBIDS_DERIVATIVES", [])


async def test_a_record_erased_since_the_estimate_ends_it_before_training(database, queue, work, source):
    queue("a")
    source.made[1] = replace(source.made[1], salt=b"", fields={})
    async with work() as script:
        failed = await at(database, "a", ENDED)
    assert (failed.reason, script.shards) == ("RECORD_ERASED", [])
    assert source.made[1].name in failed.message


async def test_a_record_erased_while_it_trains_stops_it(database, queue, work, source):
    queue("a", "b")
    async with work(HANG) as script:
        await at(database, "a", {State.TRAINING})
        await script.hanging.wait()
        await database.write(lambda c: erase.note(c, source.made[3].name, "its author's wish"))
        script.bell.ring()
        failed = await at(database, "a", ENDED)
        following = await at(database, "b", ENDED)
    assert (failed.state, failed.reason) == (State.FAILED, "RECORD_ERASED")
    assert following.reason == "RECORD_ERASED"
    assert script.stopped == len(script.shards) == 1


async def test_a_record_erased_while_its_text_is_written_leaves_none(
    database, queue, work, source, tmp_path, monkeypatch
):
    """The erasure ends the fine-tune, and has looked for the text before it was there."""
    queue("a")
    async with work():
        await at(database, "a", {State.SUCCEEDED})
    kept, record, put_file, written = tmp_path / "records", source.made[3].name, ArtifactStore.put_file, []

    def late(self, file):
        database.write_now(lambda c: erase.note(c, record, "its author's wish"))
        erase.remove_texts(self, record)
        time.sleep(0.3)  # the fine-tune is stopped meanwhile
        written.append(put_file(self, file))
        return written[0]

    monkeypatch.setattr(ArtifactStore, "put_file", late)
    monkeypatch.setattr(jobs, "_POLL", 0.01)
    queue("b")
    async with work():
        failed = await at(database, "b", ENDED)
        async with asyncio.timeout(10):
            while not written or any(record.encode() in file.read_bytes() for file in kept.glob("sha256/*/*")):
                await asyncio.sleep(0.01)
    assert failed.reason == "RECORD_ERASED"


async def test_what_a_worker_wrote_while_a_record_was_erased_is_taken_away_when_it_is_stopped(
    database, queue, work, source, tmp_path
):
    queue("a")
    quotes = tmp_path / PRIVATE_EVALUATION
    async with work(HANG) as script:
        script.may_stop.clear()
        await at(database, "a", {State.TRAINING})
        await script.hanging.wait()
        await database.write(lambda c: erase.note(c, source.made[3].name, "its author's wish"))
        script.bell.ring()
        await script.stopping.wait()
        quotes.write_text("{}")
        script.found = Done(tmp_path, RESULT)
        script.may_stop.set()
        async with asyncio.timeout(100):
            while quotes.exists():
                await asyncio.sleep(0.01)


async def test_a_record_erased_at_the_last_moment_leaves_nothing_to_publish(database, queue, work, source, monkeypatch):
    queue("a")
    original = jobs.EventLog.flush

    async def erased_first(self):
        await database.write(lambda c: store_snapshots.add_erased(c, source.made[0].name, "its author's wish"))
        return await original(self)

    monkeypatch.setattr(jobs.EventLog, "flush", erased_first)
    async with work():
        failed = await at(database, "a", ENDED)
    assert (failed.reason, failed.manifest, failed.revision) == ("RECORD_ERASED", b"", "")
