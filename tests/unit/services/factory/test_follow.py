from __future__ import annotations

import pytest

from services.factory import follow as following
from services.factory import parts
from services.factory.follow import follow, forget
from services.factory.spec import FineTuneSpec
from services.kit.executor import WORKER_DIED, Done, Shard, TaskFailed

RUN = Shard("services.factory.task:fine_tune", {"records": "aa" * 32})
SPEC = FineTuneSpec(contributors_at_once=3)
PEOPLE = {f"0x{i:040x}": 3 for i in range(8)}
INDEX = "contribution_index.safetensors"


class Executor:
    """Finishes everything at once, or dies as often as it is told."""

    def __init__(self, folder, deaths=0):
        self.folder, self.deaths = folder, deaths
        self.made, self.ran, self.removed, self.discarded = {}, [], [], []

    async def run(self, shard, report):
        self.ran.append(shard.task.partition(":")[2])
        if self.deaths:
            self.deaths -= 1
            raise TaskFailed(WORKER_DIED, "killed")
        self.made[shard.digest()] = Done(self.folder, {"index_root": "ef", "files": {INDEX: "new"}})
        return self.made[shard.digest()]

    async def find(self, shard):
        return self.made.get(shard.digest())

    async def remove(self, shard):
        self.removed.append(shard)
        self.made.pop(shard.digest(), None)

    async def discard(self, shard):
        self.discarded.append(shard)


@pytest.fixture
def executor(tmp_path):
    return Executor(tmp_path / "joined")


@pytest.fixture
def done(tmp_path):
    files = {INDEX: "first part", "adapter_model.safetensors": "same"}
    result = {"contributors": PEOPLE, "metrics": {"steps": 9}, "seconds": 60.0, "files": files, "index_root": "cd"}
    return Done(tmp_path / "run", result)


async def test_one_training_that_followed_all_is_what_there_is(executor, done):
    told = []
    for spec in (FineTuneSpec(), FineTuneSpec(contributors_at_once=8)):
        assert await follow(executor, RUN, spec, done, told.append, 1) == (RUN, done)
    assert (executor.ran, told) == ([], [])


async def test_further_parts_are_made_once_counted_and_put_together(executor, done):
    told = []
    indexed, joined = await follow(executor, RUN, SPEC, done, told.append, 1)
    assert executor.ran == ["follow", "follow", "join"]
    plan = parts.plan(RUN, SPEC, 8, 9)
    assert indexed == plan.join
    assert joined == Done(executor.folder, {
        **done.result, "index_root": "ef", "files": {INDEX: "new", "adapter_model.safetensors": "same"}
    })  # fmt: skip
    assert [(said["step"], said["steps"]) for said in told] == [(1, 3), (2, 3), (3, 3), (3, 3)]
    assert told[1]["phase"] == "following contributors: 2 of 3 parts done"
    assert executor.removed == list(plan.parts), "their rows are kept once"
    assert await follow(executor, RUN, SPEC, done, told.append, 1) == (indexed, joined)
    assert len(executor.ran) == 3


def test_what_is_left_is_judged_by_the_run_until_a_part_is_made(monkeypatch):
    clock = iter((100.0, 110.0, 130.0))
    monkeypatch.setattr(following.time, "monotonic", lambda: next(clock))
    told = []
    report = following._progress(told.append, known=1, each=60.0)
    for done in (0, 1, 2, 3):
        report(done, 3)
    assert [said["seconds_left"] for said in told] == [180.0, 120.0, 10.0, 0.0]


async def test_a_worker_may_die_under_a_part_and_not_for_ever(executor, done):
    executor.deaths = 2
    await follow(executor, RUN, SPEC, done, lambda _: None, 1)
    assert executor.ran == ["follow"] * 4 + ["join"]
    hopeless = Executor(executor.folder, deaths=99)
    with pytest.raises(TaskFailed):
        await follow(hopeless, RUN, SPEC, done, lambda _: None, 1)
    assert hopeless.ran == ["follow"] * 3


async def test_what_parts_left_half_done_is_swept_when_nobody_will_finish_them(executor, done):
    await forget(executor, RUN, SPEC)
    assert executor.discarded == [], "no run, no parts"
    executor.made[RUN.digest()] = done
    await forget(executor, RUN, SPEC)
    assert executor.discarded == list(parts.plan(RUN, SPEC, 8, 9).parts)
