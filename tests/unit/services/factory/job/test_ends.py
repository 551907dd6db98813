"""What is cancelled, in every phase, and what becomes of private files."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from openledger import manifest
from openledger.adapters import SPAN_INDEX
from services.factory import event_log, store
from services.factory.model import State
from services.factory.private_work import PrivateWork
from services.kit.executor import TaskFailed
from services.kit.private_files import PrivateFiles
from tests.unit.services.factory.job.conftest import ENDED, at, said


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
