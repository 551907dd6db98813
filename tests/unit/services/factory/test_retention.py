"""What stays on disk, and for how long."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from openledger.artifacts import ArtifactStore
from services.factory import store, store_snapshots
from services.factory.model import State
from services.factory.retention import Retention
from services.factory.run import Replacement, SnapshotPin
from services.factory.run_shard import shard
from services.kit.executor_folder import FolderExecutor

DAY = 86_400.0


class Folder(FolderExecutor):
    """Starts nothing."""

    async def _attempt(self, *_):
        raise AssertionError


@pytest.fixture
def kept(tmp_path):
    return ArtifactStore(tmp_path / "records")


@pytest.fixture
def retention(database, kept, tmp_path):
    return Retention(database, Folder(tmp_path / "executor"), kept, 30, shard)


@pytest.fixture
def finished(tmp_path):
    """Makes the folder of a finished shard that was last used so many days ago."""

    def make(digest, days):
        folder = tmp_path / "executor" / digest
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("{}")
        os.utime(folder, (time.time() - days * DAY,) * 2)
        return folder

    return make


@pytest.fixture
def ended(database, job):
    """Puts a fine-tune that succeeded so many days ago."""

    def put(id_, output, days):
        when = datetime.now(UTC) - timedelta(days=days)
        made = replace(job, id=id_, state=State.SUCCEEDED, output=str(output), end_time=when)
        database.write_now(lambda c: store.add_fine_tune(c, made, "done"))

    return put


def old(kept, content, days=31.0):
    digest = kept.put(content)
    os.utime(kept.path(digest), (time.time() - days * DAY,) * 2)
    return digest


async def test_outputs_go_when_nobody_wanted_them_for_so_long(database, retention, finished, ended):
    stale, used, fresh, published = (finished(c * 64, days) for c, days in (("a", 31), ("b", 29), ("c", 31), ("d", 31)))
    ended("fresh", fresh, 1)
    ended("published", published, 31)
    await retention.sweep()
    assert [folder.exists() for folder in (stale, used, fresh, published)] == [False, True, True, False]
    outputs = {id_: database.read_now(lambda c, i=id_: store.find(c, i)).output for id_ in ("fresh", "published")}
    assert outputs == {"fresh": str(fresh), "published": ""}


async def test_what_an_unfinished_fine_tune_goes_on_with_stays(database, job, retention, tmp_path):
    going_on = replace(job, state=State.TRAINING)
    database.write_now(lambda c: store.add_fine_tune(c, going_on, "made"))
    places = [tmp_path / "executor" / f".{digest}" / "scratch" for digest in (shard(going_on).digest(), "e" * 64)]
    for scratch in places:
        scratch.mkdir(parents=True)
        for place in (scratch, scratch.parent):
            os.utime(place, (0, 0))
    await retention.sweep()
    assert [scratch.exists() for scratch in places] == [True, False]


async def test_kept_records_go_when_no_job_needs_them(database, job, retention, kept):
    pins = [SnapshotPin(f"datanets/letters/snapshots/{i}", "aa" * 32) for i in range(3)]
    unused, recent, needed = (old(kept, content, days) for content, days in ((b"0", 31), (b"1", 29), (b"2", 31)))
    replayed, orphan, being_written = old(kept, b"3"), old(kept, b"4", 0.1), old(kept, b"5", 0.01)
    again = Replacement(f"adapters/letters/revisions/{'5' * 64}", replayed, (job.owner,))

    def fill(c):
        for pin, digest in zip(pins, (unused, recent, needed), strict=True):
            store_snapshots.put_snapshot(c, pin, digest, ["r"])
        store.add_fine_tune(c, replace(job, id="trains", state=State.TRAINING, records=needed), "made")
        store.add_fine_tune(c, replace(job, id="waits", replaces=again), "made")

    database.write_now(fill)
    await retention.sweep()
    there = [kept.has(digest) for digest in (unused, recent, needed, replayed, orphan, being_written)]
    assert there == [False, True, True, True, False, True]
    known = [database.read_now(lambda c, p=pin: store_snapshots.find_snapshot(c, p)) is not None for pin in pins]
    assert known == [False, True, True]


async def test_it_is_done_once_an_hour_and_trouble_holds_nothing_up(retention, finished, monkeypatch):
    async def refused(*_):
        raise PermissionError("not yours")

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "expire", refused)
        await retention.sweep()
    stale = finished("a" * 64, 31)
    await retention.sweep()
    assert stale.exists()
    later = time.monotonic() + 3601
    monkeypatch.setattr("services.factory.retention.time.monotonic", lambda: later)
    await retention.sweep()
    assert not stale.exists()
