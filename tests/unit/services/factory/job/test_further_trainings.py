"""Trainings after the run: again without some contributors, and for further parts of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from openledger import manifest
from openledger.artifacts import ArtifactStore
from services.factory import event_log, store
from services.factory import job as jobs
from services.factory.job import Limits
from services.factory.model import State
from services.kit.executor import Done, TaskFailed
from tests.factory_world import address
from tests.unit.services.factory.job.conftest import ENDED, FITTED, HANG, RESULT, TRAINED, at, said, tasks


async def test_trainings_again_follow_the_run_and_their_files_are_named_beside_its_own(database, audited, work):
    audited("a")
    async with work(RESULT | TRAINED, {}, {}, {}, FITTED) as script:
        done = await at(database, "a", ENDED)
    assert tasks(script) == ["fine_tune", "retrain", "retrain", "retrain", "fit"]
    made = manifest.parse(done.manifest)
    assert made.files == RESULT["files"] | FITTED["files"]
    assert made.spec["leave_one_out"] is True
    assert (done.metrics.audit, done.audit_output) == (FITTED["words"], str(script.folder))
    assert script.removed[0] == script.trunks[0], "activations are not kept"
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
        await first.hanging.wait()
    database.write_now(lambda c: store.move(c, "c", State.FAILED, "failed", records=training.records))
    async with work(HANG) as second:
        await at(database, "b", {State.TRAINING})
        await second.hanging.wait()
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
    async with work(RESULT | TRAINED, {}, fails, RESULT | TRAINED) as script:
        failed = await at(database, "a", ENDED)
        assert (await at(database, "b", ENDED)).state is State.FAILED, "it has no files in this script"
    assert (failed.state, failed.reason, failed.manifest) == (State.FAILED, reason, b"")
    assert failed.message == "trained again without 0xa: what the task said"
    assert tasks(script)[:3] == ["fine_tune", "retrain", "retrain"]


async def test_a_dead_worker_repeats_its_own_training_again_alone(database, audited, work):
    audited("a")
    died = TaskFailed("WorkerDied", "status -9")
    async with work(RESULT | TRAINED, {}, died, {}, {}, FITTED) as script:
        done = await at(database, "a", ENDED)
    assert done.state is State.SUCCEEDED
    digests = [shard.digest() for shard in script.shards]
    assert tasks(script) == ["fine_tune", "retrain", "retrain", "retrain", "retrain", "fit"]
    assert digests[2] == digests[3]
    assert len(set(digests)) == 5


async def test_a_training_again_that_kills_its_workers_is_given_up(database, audited, work):
    audited("a")
    died = TaskFailed("WorkerDied", "status -9")
    async with work(RESULT | TRAINED, died, died, died):
        failed = await at(database, "a", ENDED)
    assert (failed.state, failed.reason) == (State.FAILED, "WORKER_DIED")


async def test_trainings_again_count_in_the_time_that_a_fine_tune_may_take(database, audited, work):
    audited("a")
    async with work(RESULT | TRAINED, HANG, limits=Limits(100, 2)) as script:
        failed = await at(database, "a", ENDED)
    assert (failed.reason, script.stopped) == ("OUT_OF_TIME", 1)
    assert "fewer trainings again" in failed.message


async def test_a_cancelled_training_again_is_stopped_and_leaves_no_activations(database, audited, work):
    audited("a")
    async with work(RESULT | TRAINED, {}, HANG) as script:
        async with asyncio.timeout(100):
            while len(script.shards) < 3:
                await asyncio.sleep(0.01)
        await database.write(lambda c: store.move(c, "a", State.CANCELLED, "cancelled"))
        script.bell.ring()
        async with asyncio.timeout(100):
            while not script.removed:
                await asyncio.sleep(0.01)
    assert script.stopped == 1
    assert said(database, "a")[-1] == (State.CANCELLED, "cancelled")
    assert script.removed == [script.trunks[0]]
    cancelled = database.read_now(lambda c: store.find(c, "a"))
    assert (cancelled.manifest, cancelled.audit_output) == (b"", "")


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
    assert script.removed[0] == script.shards[1], "its rows are in the joined index"
    assert "following contributors: 2 of 2 parts done" in [message for _, message in said(database, "a")]


async def test_trainings_again_come_after_the_parts_and_read_the_joined_index(database, audited, work):
    audited("a", contributors_at_once=1)
    async with work(RESULT, {}, JOINED, {}, {}, {}, FITTED) as script:
        done = await at(database, "a", ENDED)
    assert done.state is State.SUCCEEDED
    assert tasks(script) == ["fine_tune", "follow", "join", "retrain", "retrain", "retrain", "fit"]
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
