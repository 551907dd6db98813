"""The state machine: what becomes of a fine-tune when this or that happens."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

import pytest

from openledger import manifest
from openledger.artifacts import ArtifactStore
from services.factory import clock, gather, provenance, store
from services.factory import job as jobs
from services.factory.failures import REASONS
from services.factory.job import Limits
from services.factory.model import State
from services.factory.run_shard import shard
from services.kit.executor import TaskFailed
from tests.factory_world import address
from tests.unit.services.factory.job.conftest import ENDED, HANG, RESULT, at, said


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


@pytest.mark.parametrize(("kind", "reason"), (*REASONS.items(), ("ZeroDivisionError", "INTERNAL")))
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
    async with work(HANG, limits=Limits(100, 1)) as script:
        failed = await at(database, "a", ENDED)
    assert (failed.reason, script.stopped) == ("OUT_OF_TIME", 1)


async def test_its_time_is_counted_through_all_lives_of_the_service(database, queue, work, monkeypatch):
    monkeypatch.setattr(clock, "EVERY", 0.01)
    queue("a")
    async with work(HANG, limits=Limits(100, 1000)) as script:
        await script.hanging.wait()
        while not (told := database.read_now(lambda c: store.find(c, "a")).training_seconds):
            await asyncio.sleep(0.01)
    kept = database.read_now(lambda c: store.find(c, "a"))
    assert kept.state is State.TRAINING
    assert kept.training_seconds >= told
    database.write_now(lambda c: store.count_seconds(c, "a", 999.5))
    async with work(HANG, limits=Limits(100, 1000)):
        failed = await at(database, "a", ENDED)
    assert failed.reason == "OUT_OF_TIME"
    assert 1000 <= failed.training_seconds < 1100


async def test_what_its_owner_cancels_is_stopped_and_stays_cancelled(database, queue, work):
    queue("a", "b")
    async with work(HANG) as script:
        await at(database, "a", {State.TRAINING})
        await script.hanging.wait()
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
        await script.hanging.wait()
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
        await first.hanging.wait()
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
    async with work(HANG) as script:
        training = await at(database, "a", {State.TRAINING})
        await script.hanging.wait()
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


def test_everything_that_decides_the_bytes_names_the_work(job, monkeypatch):
    changed = (
        replace(job, spec=replace(job.spec, seed=77)),
        replace(job, base_sha256="00" * 32),
        replace(job, records="00" * 32),
        replace(job, threads=2),
    )
    assert len({shard(j).digest() for j in (job, *changed)}) == 5
    before = shard(job).digest()
    assert shard(replace(job, id="x", owner=address(5), attempts=2)).digest() == before
    monkeypatch.setattr(provenance, "key", lambda: "of other code")
    assert shard(job).digest() != before
