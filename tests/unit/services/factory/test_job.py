"""The state machine against a scripted executor: what becomes of a fine-tune when this or that happens."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from openledger import base_models, manifest
from openledger.adapters import SPAN_INDEX
from openledger.artifacts import ArtifactStore
from openledger.influence.adapter_config import AdapterConfig
from services.factory import erase, event_log, gather, store, store_events, store_snapshots
from services.factory import job as jobs
from services.factory.admit import Admission
from services.factory.bell import Bell
from services.factory.gather import Gatherer
from services.factory.job import Limits, Runner
from services.factory.lineage import PRIVATE_EVALUATION
from services.factory.model import UNFINISHED, State
from services.factory.private_work import PrivateWork
from services.factory.run import SnapshotPin
from services.kit.executor import Done, TaskFailed
from services.kit.private_files import PrivateFiles
from tests.factory_world import SECOND, SNAPSHOT, ListSource, address, root_of, snapshot_records

RESULT = {
    "records": 6,
    "files": dict.fromkeys(manifest.FILES, "ab" * 32),
    "index_root": "cd" * 32,
    "contributors": {address(1): 3, address(2): 3},
    "metrics": {"records": 6, "records_held_out": 0, "steps": 9, "tokens": 60},
    "dropped": {},
    "seconds": 1.0,
}
TRAINED = {"metrics": RESULT["metrics"]}
HANG = object()
KEY = "0x" + "11" * 32
PRIVATE = "services.factory.private_task:span_index"


class Script:
    """An executor that does what is written for each run: raises an error, hangs, or is done."""

    def __init__(self, folder, steps):
        self.folder, self.steps, self.shards, self.discarded, self.stopped = folder, list(steps), [], [], 0
        self.removed, self.found, self.finished = [], None, {}
        self.stopping, self.may_stop = asyncio.Event(), asyncio.Event()
        self.may_stop.set()

    async def run(self, shard, report):
        if shard.task == PRIVATE:
            (self.folder / SPAN_INDEX).write_bytes(b"texts")
            return Done(self.folder, {"files": {SPAN_INDEX: hashlib.sha256(b"texts").hexdigest()}})
        self.shards.append(shard)
        step = self.steps.pop(0) if self.steps else RESULT
        phase = step.get("hang", "training") if isinstance(step, dict) else "training"
        report({"phase": phase, "step": 1, "steps": 9})
        if step is HANG or step == {"hang": phase}:
            try:
                await asyncio.Event().wait()
            finally:
                self.stopping.set()
                await self.may_stop.wait()
                self.stopped += 1
        if isinstance(step, Exception):
            raise step
        return Done(self.folder, step)

    async def find(self, shard):
        return self.finished.get(shard.digest(), self.found)

    async def discard(self, shard):
        self.discarded.append(shard)

    async def remove(self, shard):
        if shard.task == PRIVATE:
            (self.folder / SPAN_INDEX).unlink(missing_ok=True)
            return
        self.removed.append(shard)


@pytest.fixture
def source():
    return ListSource(snapshot_records(6, 2))


@pytest.fixture
def queue(database, job, source):
    """Puts fine-tunes into the line; returns their ids."""

    def put(*ids):
        for id_ in ids:
            queued = replace(job, id=id_, snapshots=(SnapshotPin(SNAPSHOT, source.info.root),))
            database.write_now(lambda c, q=queued: store.add_fine_tune(c, q, "waiting"))

    return put


@pytest.fixture
def work(database, source, tmp_path):
    """Runs the line with an executor that does as scripted, until it is left."""

    @asynccontextmanager
    async def run(*steps, limits=Limits(100, 100)):  # noqa: B008 - frozen
        script, bell = Script(tmp_path, steps), Bell()
        admission = Admission(source, ("tiny",), {})
        gatherer = Gatherer(database, source, ArtifactStore(tmp_path / "records"))
        script.private = PrivateFiles(tmp_path / "private")
        withheld = PrivateWork(database, script, script.private, KEY)
        runner = Runner(database, admission, gatherer, script, withheld, bell, limits, KEY)
        running = asyncio.create_task(runner.run())
        script.bell = bell
        yield script
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    return run


async def at(database, id_, states):
    """The fine-tune once it is in one of the states."""
    async with asyncio.timeout(100):
        while True:
            job = await database.read(lambda c: store.find(c, id_))
            if job.state in states:
                return job
            await asyncio.sleep(0.01)


ENDED = frozenset(State) - UNFINISHED


def said(database, id_):
    return [(e.state, e.message) for e in database.read_now(lambda c: store_events.events(c, id_, 0, 1000))[1]]


async def test_a_fine_tune_passes_every_state_and_ends_with_its_revision(database, queue, work):
    queue("a")
    async with work() as script:
        done = await at(database, "a", ENDED)
    states = list(dict.fromkeys(state for state, _ in said(database, "a")))
    assert states == [State.QUEUED, State.READING, State.TRAINING, State.SUCCEEDED]
    assert done.revision == manifest.parse(done.manifest).revision
    assert done.metrics.train_records == 6
    assert done.end_time is not None
    assert script.shards[0].arguments["records"] == done.records


async def test_they_are_done_in_the_order_in_which_they_came(database, queue, work):
    queue("a", "b", "c")
    async with work():
        await at(database, "c", ENDED)
    ends = [database.read_now(lambda c, i=i: store.find(c, i)).end_time for i in "abc"]
    assert ends == sorted(ends)


@pytest.mark.parametrize(("kind", "reason"), (*jobs.REASONS.items(), ("ZeroDivisionError", "INTERNAL")))
async def test_what_a_worker_raises_becomes_a_reason_and_the_line_moves_on(database, queue, work, kind, reason):
    queue("a", "b")
    async with work(TaskFailed(kind, "what the task said")):
        failed = await at(database, "a", ENDED)
        await at(database, "b", {State.SUCCEEDED})
    assert (failed.state, failed.reason) == (State.FAILED, reason)
    assert ("what the task said" in failed.message) == (reason != "INTERNAL")


async def test_a_worker_that_dies_is_replaced_until_the_third(database, queue, work):
    died = TaskFailed("WorkerDied", "status -9")
    queue("a", "b")
    async with work(died, died, RESULT, died, died, died) as script:
        assert (await at(database, "a", ENDED)).state is State.SUCCEEDED
        failed = await at(database, "b", ENDED)
    assert (failed.state, failed.reason, failed.attempts) == (State.FAILED, "WORKER_DIED", 3)
    assert len({shard.digest() for shard in script.shards[:3]}) == 1
    assert (State.TRAINING, "the worker died; starting again (1 of 3)") in said(database, "a")


async def test_training_that_takes_too_long_is_stopped(database, queue, work):
    queue("a")
    async with work(HANG, limits=Limits(100, 0.1)) as script:
        failed = await at(database, "a", ENDED)
    assert (failed.reason, script.stopped) == ("OUT_OF_TIME", 1)


async def test_what_its_owner_cancels_is_stopped_and_stays_cancelled(database, queue, work):
    queue("a", "b")
    async with work(HANG) as script:
        await at(database, "a", {State.TRAINING})
        await database.write(lambda c: store.move(c, "a", State.CANCELLED, "cancelled"))
        script.bell.ring()
        await at(database, "b", {State.SUCCEEDED})
    assert script.stopped == 1
    assert said(database, "a")[-1] == (State.CANCELLED, "cancelled")
    assert script.discarded[0] == script.shards[0], "no other attempt will want what it left"


async def test_a_service_that_ends_while_a_worker_is_stopped_waits_for_the_workers_end(database, queue, work):
    queue("a")
    async with work(HANG) as script:
        script.may_stop.clear()
        await at(database, "a", {State.TRAINING})
        await database.write(lambda c: store.move(c, "a", State.CANCELLED, "cancelled"))
        script.bell.ring()
        await script.stopping.wait()
        asyncio.get_running_loop().call_later(0.2, script.may_stop.set)
    assert script.stopped == 1


async def test_what_is_cancelled_at_the_last_moment_does_not_succeed(database, queue, work, monkeypatch):
    queue("a")

    def cancel_first(job, result, key):
        database.write_now(lambda c: store.move(c, "a", State.CANCELLED, "cancelled"))
        return original(job, result, key)

    original = jobs.lineage
    monkeypatch.setattr(jobs, "lineage", cancel_first)
    async with work():
        await at(database, "a", ENDED)
        await asyncio.sleep(0.05)
    assert said(database, "a")[-1] == (State.CANCELLED, "cancelled")
    assert database.read_now(lambda c: store.find(c, "a")).revision == ""


async def test_a_new_start_takes_up_what_was_training_before_what_waits(database, queue, work, source):
    queue("a", "b")
    async with work(HANG) as first:
        await at(database, "a", {State.TRAINING})
    assert first.stopped == 1, "stopping the service stops the worker"
    assert first.discarded == [], "and what it left is for the next attempt"
    async with work() as second:
        await at(database, "b", {State.SUCCEEDED})
    assert database.read_now(lambda c: store.find(c, "a")).state is State.SUCCEEDED
    assert [s.digest() for s in second.shards[:1]] == [s.digest() for s in first.shards]
    assert (State.TRAINING, "taken up again") in said(database, "a")
    assert source.starts == [0, 0], "what was read for a is not read again for a"


async def test_records_that_got_lost_are_read_again(database, queue, work, source, tmp_path):
    queue("a")
    async with work(HANG):
        training = await at(database, "a", {State.TRAINING})
    ArtifactStore(tmp_path / "records").path(training.records).unlink()
    async with work():
        assert (await at(database, "a", ENDED)).state is State.SUCCEEDED
    assert source.starts == [0, 0]


async def test_records_that_are_not_what_was_frozen_end_it_before_training(database, queue, work, source):
    queue("a")
    source.made.pop()
    async with work() as script:
        failed = await at(database, "a", ENDED)
    assert (failed.state, failed.reason, script.shards) == (State.FAILED, "ROOT_MISMATCH", [])


async def test_a_full_disk_while_reading_is_told(database, queue, work, monkeypatch):
    async def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gather, "read_snapshot", full)
    queue("a")
    async with work():
        assert (await at(database, "a", ENDED)).reason == "DISK_FULL"


async def test_an_error_of_ours_fails_one_fine_tune_and_not_the_line(database, queue, work, monkeypatch):
    read = gather.read_snapshot

    async def broken(*args):
        monkeypatch.setattr(gather, "read_snapshot", read)
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(gather, "read_snapshot", broken)
    queue("a", "b")
    async with work():
        await at(database, "b", {State.SUCCEEDED})
    failed = database.read_now(lambda c: store.find(c, "a"))
    assert (failed.state, failed.reason) == (State.FAILED, "INTERNAL")
    assert "secret" not in failed.message


async def test_figures_that_no_manifest_can_hold_fail_it(database, queue, work):
    queue("a")
    async with work(RESULT | {"metrics": RESULT["metrics"] | {"loss_before": float("inf")}}):
        assert (await at(database, "a", ENDED)).reason == "UNTRAINABLE"


def test_everything_that_decides_the_bytes_names_the_work(job):
    changed = (
        replace(job, spec=replace(job.spec, seed=77)),
        replace(job, base_sha256="00" * 32),
        replace(job, records="00" * 32),
        replace(job, threads=2),
    )
    assert len({jobs.shard(j).digest() for j in (job, *changed)}) == 5
    assert jobs.shard(replace(job, id="x", owner=address(5), attempts=2)).digest() == jobs.shard(job).digest()


# --- trainings again without some contributors ------------------------------------------------------------------------

FITTED = {"files": {"audit.json": "ef" * 32}, "words": "the paid scores agree well"}


@pytest.fixture
def audited(database, job, source, tmp_path):
    """Puts fine-tunes that leave out each of two contributors into the line; their adapter lies above frozen layers."""
    layers = AdapterConfig("tiny", 4, 8, ("q_proj",), (1,)).to_json()
    (tmp_path / "adapter_config.json").write_text(json.dumps(layers))

    def put(*ids, **changes):
        spec = replace(job.spec, **({"leave_one_out": True} | changes))
        for id_ in ids:
            queued = replace(job, id=id_, spec=spec, snapshots=(SnapshotPin(SNAPSHOT, source.info.root),))
            database.write_now(lambda c, q=queued: store.add_fine_tune(c, q, "waiting"))

    return put


def tasks(script):
    return [shard.task.rpartition(":")[2] for shard in script.shards]


async def test_trainings_again_follow_the_run_and_their_files_are_named_beside_its_own(database, audited, work):
    audited("a")
    async with work(RESULT | TRAINED, {}, {}, {}, {}, FITTED) as script:
        done = await at(database, "a", ENDED)
        async with asyncio.timeout(100):
            while not script.removed:
                await asyncio.sleep(0.01)
    assert tasks(script) == ["fine_tune", "trunk", "retrain", "retrain", "retrain", "fit"]
    made = manifest.parse(done.manifest)
    assert made.files == RESULT["files"] | FITTED["files"]
    assert made.spec["leave_one_out"] is True
    assert (done.metrics.audit, done.audit_output) == (FITTED["words"], str(script.folder))
    assert script.removed == [script.shards[1]], "activations are not kept"
    told = [message for _, message in said(database, "a")]
    assert [m for m in told if m.startswith("training again without some contributors")][-1].endswith("3 of 3 done")
    assert told.index(event_log.PHASES["trunk"]) < told.index(event_log.PHASES["fit"])


async def test_the_run_is_the_same_shard_whatever_is_trained_again_after_it(database, audited, work, job):
    audited("a")
    async with work(RESULT | TRAINED) as script:
        await at(database, "a", ENDED)
    done = database.read_now(lambda c: store.find(c, "a"))
    plain = jobs.shard(replace(done, spec=replace(done.spec, leave_one_out=False, halves=0)))
    assert script.shards[0] == jobs.shard(done) == plain


async def test_what_ended_when_the_service_did_is_cleared_away_at_the_next_start(database, audited, work, tmp_path):
    audited("a", "b", "c")
    ended = {"records": ArtifactStore(tmp_path / "records").put(b"of an earlier snapshot")}
    database.write_now(lambda c: store.move(c, "a", State.CANCELLED, "cancelled", **ended))
    async with work(HANG) as first:
        training = await at(database, "b", {State.TRAINING})
    database.write_now(lambda c: store.move(c, "c", State.FAILED, "failed", records=training.records))
    async with work(HANG) as second:
        await at(database, "b", {State.TRAINING})
        async with asyncio.timeout(100):
            while not second.shards:
                await asyncio.sleep(0.01)
    left = jobs.shard(database.read_now(lambda c: store.find(c, "a")))
    for script in (first, second):
        assert script.discarded == [left], "what c left is b's to go on with"
        assert [shard.arguments for shard in script.removed] == [left.arguments]


async def test_too_few_contributors_are_told_before_anything_is_trained(database, audited, work):
    audited("a", halves=4)
    async with work() as script:
        failed = await at(database, "a", ENDED)
    assert (failed.state, failed.reason, script.shards) == (State.FAILED, "TOO_FEW_CONTRIBUTORS", [])
    assert "at least 4 contributors, and there are 2" in failed.message


async def test_too_few_of_those_whose_records_could_be_used_are_told_after_the_run(database, audited, work):
    audited("a")
    async with work(RESULT | TRAINED | {"contributors": {address(1): 3}}) as script:
        failed = await at(database, "a", ENDED)
    assert (failed.reason, tasks(script)) == ("TOO_FEW_CONTRIBUTORS", ["fine_tune"])


@pytest.mark.parametrize(("kind", "reason"), (("Diverged", "NAN_LOSS"), ("DiskFull", "DISK_FULL")))
async def test_a_training_again_that_fails_fails_the_fine_tune_with_its_reason(database, audited, work, kind, reason):
    audited("a", "b")
    fails = TaskFailed(kind, "trained again without 0xa: what the task said")
    async with work(RESULT | TRAINED, {}, {}, fails, RESULT | TRAINED) as script:
        failed = await at(database, "a", ENDED)
        assert (await at(database, "b", ENDED)).state is State.FAILED, "it has no files in this script"
    assert (failed.state, failed.reason, failed.manifest) == (State.FAILED, reason, b"")
    assert failed.message == "trained again without 0xa: what the task said"
    assert tasks(script)[:4] == ["fine_tune", "trunk", "retrain", "retrain"]


async def test_a_dead_worker_repeats_its_own_training_again_alone(database, audited, work):
    audited("a")
    died = TaskFailed("WorkerDied", "status -9")
    async with work(RESULT | TRAINED, {}, {}, died, {}, {}, FITTED) as script:
        done = await at(database, "a", ENDED)
    assert done.state is State.SUCCEEDED
    digests = [shard.digest() for shard in script.shards]
    assert tasks(script) == ["fine_tune", "trunk", "retrain", "retrain", "retrain", "retrain", "fit"]
    assert digests[3] == digests[4]
    assert len(set(digests)) == 6


async def test_a_training_again_that_kills_its_workers_is_given_up(database, audited, work):
    audited("a")
    died = TaskFailed("WorkerDied", "status -9")
    async with work(RESULT | TRAINED, {}, died, died, died):
        failed = await at(database, "a", ENDED)
    assert (failed.state, failed.reason) == (State.FAILED, "WORKER_DIED")


async def test_trainings_again_count_in_the_time_that_a_fine_tune_may_take(database, audited, work):
    audited("a")
    async with work(RESULT | TRAINED, {}, HANG, limits=Limits(100, 0.5)) as script:
        failed = await at(database, "a", ENDED)
    assert (failed.reason, script.stopped) == ("OUT_OF_TIME", 1)
    assert "fewer trainings again" in failed.message


async def test_a_cancelled_training_again_is_stopped_and_leaves_no_activations(database, audited, work):
    audited("a")
    async with work(RESULT | TRAINED, {}, {}, HANG) as script:
        async with asyncio.timeout(100):
            while len(script.shards) < 4:
                await asyncio.sleep(0.01)
        await database.write(lambda c: store.move(c, "a", State.CANCELLED, "cancelled"))
        script.bell.ring()
        async with asyncio.timeout(100):
            while not script.removed:
                await asyncio.sleep(0.01)
    assert script.stopped == 1
    assert said(database, "a")[-1] == (State.CANCELLED, "cancelled")
    assert script.removed == [script.shards[1]]
    cancelled = database.read_now(lambda c: store.find(c, "a"))
    assert (cancelled.manifest, cancelled.audit_output) == (b"", "")


# --- several snapshots, their licences, and records that are erased ---------------------------------------------------


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


async def test_a_record_whose_own_licence_forbids_it_ends_it_before_training(database, on_offer, work, source):
    first = replace(on_offer, id="a", snapshots=(SnapshotPin(SNAPSHOT, source.info.root),))
    database.write_now(lambda c: store.add_fine_tune(c, first, "waiting"))
    source.made[2] = replace(source.made[2], licence="CC-BY-ND-4.0")
    async with work() as script:
        failed = await at(database, "a", ENDED)
        source.made[2] = replace(source.made[2], licence="CC-BY-SA-4.0")
        database.write_now(lambda c: store.add_fine_tune(c, replace(first, id="b"), "waiting"))
        done = await at(database, "b", ENDED)
    assert (failed.state, failed.reason) == (State.FAILED, "LICENCE_FORBIDS_DERIVATIVES")
    assert done.licence == "CC-BY-SA-4.0"
    assert manifest.parse(done.manifest).licence == "CC-BY-SA-4.0"
    assert len(script.shards) == 1


async def test_a_fine_tune_of_before_there_was_a_gate_passes_it_now(database, on_offer, work, source):
    old = replace(on_offer, id="a", licence="", snapshots=(SnapshotPin(SNAPSHOT, source.info.root),))
    database.write_now(lambda c: store.add_fine_tune(c, old, "waiting"))
    async with work():
        assert (await at(database, "a", ENDED)).licence == "Apache-2.0"


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
        await database.write(lambda c: erase.note(c, source.made[3].name, "its author's wish"))
        script.bell.ring()
        failed = await at(database, "a", ENDED)
        following = await at(database, "b", ENDED)
    assert (failed.state, failed.reason) == (State.FAILED, "RECORD_ERASED")
    assert following.reason == "RECORD_ERASED"
    assert script.stopped == len(script.shards) == 1


async def test_what_a_worker_wrote_while_a_record_was_erased_is_taken_away_when_it_is_stopped(
    database, queue, work, source, tmp_path
):
    queue("a")
    quotes = tmp_path / PRIVATE_EVALUATION
    async with work(HANG) as script:
        script.may_stop.clear()
        await at(database, "a", {State.TRAINING})
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


# --- cancelled in every phase -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", (*event_log.PHASES, "a phase of tomorrow"))
async def test_it_can_be_cancelled_in_every_phase_of_its_training(database, queue, work, phase):
    queue("a", "b")
    async with work({"hang": phase}) as script:
        async with asyncio.timeout(100):
            while (State.TRAINING, event_log.PHASES.get(phase, phase)) not in said(database, "a"):
                await asyncio.sleep(0.01)
        await database.write(lambda c: store.move(c, "a", State.CANCELLED, "cancelled"))
        script.bell.ring()
        await at(database, "b", {State.SUCCEEDED})
    assert script.stopped == 1
    assert said(database, "a")[-1] == (State.CANCELLED, "cancelled")
    cancelled = database.read_now(lambda c: store.find(c, "a"))
    assert (cancelled.manifest, cancelled.output, cancelled.revision) == (b"", "", "")


async def test_it_can_be_cancelled_while_it_reads(database, queue, work, source):
    queue("a", "b")
    original = source.records

    async def slow(name, start):
        source.records = original
        await asyncio.Event().wait()
        yield source.made[0]

    source.records = slow
    async with work() as script:
        await at(database, "a", {State.READING})
        await database.write(lambda c: store.move(c, "a", State.CANCELLED, "cancelled"))
        script.bell.ring()
        await at(database, "b", {State.SUCCEEDED})
    assert said(database, "a")[-1] == (State.CANCELLED, "cancelled")
    assert len(script.shards) == 1


# --- further parts of the contributors --------------------------------------------------------------------------------

JOINED = {"index_root": "ab" * 32, "files": {"contribution_index.safetensors": "ef" * 32}}


async def test_further_parts_follow_the_run_and_their_index_is_the_one_that_is_named(database, audited, work):
    audited("a", leave_one_out=False, contributors_at_once=1)
    async with work(RESULT, {}, JOINED) as script:
        done = await at(database, "a", ENDED)
    assert tasks(script) == ["fine_tune", "follow", "join"]
    made = manifest.parse(done.manifest)
    assert made.files == RESULT["files"] | JOINED["files"]
    assert (made.index_root, made.spec["contributors_at_once"]) == (JOINED["index_root"], 1)
    assert script.removed == [script.shards[1]], "its rows are in the joined index"
    assert "following contributors: 2 of 2 parts done" in [message for _, message in said(database, "a")]


async def test_trainings_again_come_after_the_parts_and_read_the_joined_index(database, audited, work):
    audited("a", contributors_at_once=1)
    async with work(RESULT, {}, JOINED, {}, {}, {}, {}, FITTED) as script:
        done = await at(database, "a", ENDED)
    assert done.state is State.SUCCEEDED
    assert tasks(script) == ["fine_tune", "follow", "join", "trunk", "retrain", "retrain", "retrain", "fit"]
    assert script.shards[-1].arguments["run"] == script.shards[2].digest()


@pytest.mark.parametrize(
    ("kind", "reason"), (("WeightsDiffer", "WORKERS_DIFFER"), ("DiskFull", "DISK_FULL"), ("WorkerDied", "WORKER_DIED"))
)
async def test_a_part_that_fails_fails_the_fine_tune_with_its_reason(database, audited, work, kind, reason):
    audited("a", leave_one_out=False, contributors_at_once=1)
    async with work(RESULT, *[TaskFailed(kind, "what the task said")] * 3):
        failed = await at(database, "a", ENDED)
    assert (failed.state, failed.reason, failed.manifest) == (State.FAILED, reason, b"")


async def test_a_part_that_is_cancelled_is_stopped_and_swept(database, audited, work):
    audited("a", leave_one_out=False, contributors_at_once=1)
    async with work(RESULT, HANG) as script:
        async with asyncio.timeout(100):
            while len(script.shards) < 2:
                await asyncio.sleep(0.01)
        script.finished[script.shards[0].digest()] = Done(script.folder, RESULT)
        await database.write(lambda c: store.move(c, "a", State.CANCELLED, "no more"))
        script.bell.ring()
        async with asyncio.timeout(100):
            while len(script.discarded) < 2:
                await asyncio.sleep(0.01)
    assert script.stopped == 1
    assert script.discarded == script.shards


# --- private files ----------------------------------------------------------------------------------------------------


async def test_private_files_are_named_by_the_manifest_kept_by_revision_and_nowhere_else(
    database, queue, work, tmp_path
):
    queue("a")
    async with work() as script:
        done = await at(database, "a", ENDED)
    made = manifest.parse(done.manifest)
    assert made.private_files == {SPAN_INDEX: hashlib.sha256(b"texts").hexdigest()}
    assert script.private.place(made.digest, SPAN_INDEX).read_bytes() == b"texts"
    assert not (tmp_path / SPAN_INDEX).exists(), "the worker's copy is gone"


async def test_nothing_private_stays_of_what_came_to_nothing_at_the_last_moment(database, queue, work, monkeypatch):
    queue("a", "b")
    keep = PrivateWork.keep

    async def cancelled(self, *arguments):
        await keep(self, *arguments)
        await database.write(lambda c: store.move(c, "a", State.CANCELLED, "cancelled"))

    monkeypatch.setattr(PrivateWork, "keep", cancelled)
    async with work() as script:
        await at(database, "a", {State.CANCELLED})
        done = await at(database, "b", {State.SUCCEEDED})
        assert script.private.revisions() == [manifest.parse(done.manifest).digest]


async def test_nothing_private_stays_of_what_was_being_made_when_the_service_died(database, queue, work, tmp_path):
    queue("a")
    PrivateFiles(tmp_path / "private").partial("ee" * 32, SPAN_INDEX).write_bytes(b"te")
    async with work() as script:
        done = await at(database, "a", ENDED)
        assert script.private.revisions() == [manifest.parse(done.manifest).digest]


async def test_private_files_that_cannot_be_made_fail_it_with_their_reason(database, queue, work, monkeypatch):
    queue("a")

    async def fails(self, run, tell):
        raise TaskFailed("MemoryError", "no room")

    monkeypatch.setattr(PrivateWork, "make", fails)
    async with work() as script:
        failed = await at(database, "a", ENDED)
    assert (failed.state, failed.reason, failed.manifest) == (State.FAILED, "OUT_OF_MEMORY", b"")
    assert script.private.revisions() == []
