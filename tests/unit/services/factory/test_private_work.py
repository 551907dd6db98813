from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from openledger.adapters import RECORD_SKETCHES, SPAN_INDEX
from services.factory import store
from services.factory.private_work import PrivateWork
from services.kit.executor import Done, Shard
from services.kit.private_files import PrivateFiles

KEY, OTHER_KEY = "0x" + "11" * 32, "0x" + "22" * 32
RUN = Shard("services.factory.task:fine_tune", {"records": "aa" * 32, "threads": 1})
REVISION = "cc" * 32
FILES = (SPAN_INDEX, RECORD_SKETCHES)


class Made:
    """An executor whose workers write some bytes."""

    def __init__(self, folder):
        self.folder, self.ran, self.removed = folder, [], []

    async def run(self, shard, report):
        self.ran.append(shard)
        report({"phase": "sketches", "step": 1, "steps": 2})
        for name in FILES:
            (self.folder / name).write_bytes(name.encode())
        return Done(self.folder, {"files": dict.fromkeys(FILES, "ab" * 32)})

    async def remove(self, shard):
        self.removed.append(shard)


@pytest.fixture
def executor(tmp_path):
    return Made(tmp_path)


@pytest.fixture
def kept(tmp_path):
    return PrivateFiles(tmp_path / "private")


@pytest.fixture
def work(database, executor, kept):
    return PrivateWork(database, executor, kept, KEY)


async def test_what_is_made_is_kept_by_revision_and_the_workers_copy_goes(work, executor, kept):
    said = []
    made = await work.make(RUN, said.append)
    assert [told["phase"] for told in said] == ["private", "sketches"], "workers are heard"
    await work.keep(RUN, REVISION, made)
    for name in FILES:
        assert kept.place(REVISION, name).read_bytes() == name.encode()
    assert executor.removed == executor.ran == work.shards(RUN)


def test_sketches_are_of_the_run_itself(work):
    [shard] = work.shards(RUN)
    assert (shard.arguments["run"], shard.arguments["kind"]) == (RUN.digest(), "adam")


@pytest.mark.parametrize("name", FILES)
def test_the_salt_is_secret_and_the_same_for_the_same_run_and_key(database, executor, kept, work, name):
    def salt(run, key=KEY):
        [shard] = PrivateWork(database, executor, kept, key).shards(run)
        assert shard.arguments.items() >= run.arguments.items()
        assert len(set(shard.arguments["salts"].values())) == len(FILES), "another one for each file"
        return shard.arguments["salts"][name]

    assert salt(RUN) == salt(replace(RUN))
    other = Shard(RUN.task, {**RUN.arguments, "records": "bb" * 32})
    assert len({salt(RUN), salt(other), salt(RUN, OTHER_KEY)}) == 3
    assert len(bytes.fromhex(salt(RUN))) == 32
    assert KEY.removeprefix("0x") not in str(work.shards(RUN))


async def test_what_no_fine_tune_came_to_is_swept_away(database, job, work, kept, tmp_path):
    (tmp_path / "source").write_bytes(b"texts")
    for revision in (REVISION, "dd" * 32):
        kept.put(revision, SPAN_INDEX, tmp_path / "source")
    known = replace(job, revision=f"adapters/letters/revisions/{REVISION}", output="/o")
    database.write_now(lambda c: store.add_fine_tune(c, known, "made"))
    await work.sweep()
    assert kept.revisions() == [REVISION]


async def test_who_is_stopped_while_keeping_leaves_nothing_that_comes_later(work, kept, monkeypatch):
    """A thread cannot be stopped: its end is waited for, so that whoever sweeps then finds all of it."""
    copying, go_on = asyncio.Event(), asyncio.Event()
    loop, put = asyncio.get_running_loop(), kept.put

    def slow(*arguments):
        loop.call_soon_threadsafe(copying.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        put(*arguments)

    monkeypatch.setattr(kept, "put", slow)
    made = await work.make(RUN, lambda _: None)
    keeping = asyncio.create_task(work.keep(RUN, REVISION, made))
    await copying.wait()
    keeping.cancel()
    await asyncio.sleep(0.05)
    assert not keeping.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    await work.sweep()
    assert kept.revisions() == []
