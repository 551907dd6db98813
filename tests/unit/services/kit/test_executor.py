"""Many shards, against an executor that does what it is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from services.kit.executor import WORKER_DIED, Done, Shard, TaskFailed, run_all

DIED, BROKEN = TaskFailed(WORKER_DIED, "killed"), TaskFailed("KeyError", "colour")


class Script:
    """Raises what is written for a shard, attempt by attempt, then is done."""

    def __init__(self, **steps):
        self.steps, self.attempts, self.running, self.most, self.stopped = steps, Counter(), 0, 0, 0

    async def run(self, shard, report):
        name = shard.arguments["name"]
        self.attempts[name] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        report({"phase": name})
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            step = next(iter(self.steps.get(name, ())[self.attempts[name] - 1 :]), None)
            if step == "hang":
                await asyncio.Event().wait()
            if step is not None:
                raise step
            return Done(Path(name), {"name": name})
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        finally:
            self.running -= 1

    async def discard(self, shard):
        raise AssertionError


def shards(names):
    return [Shard("a:b", {"name": name}) for name in names]


def ignore(*_):
    """For tests that ask nothing of progress."""


async def test_results_come_in_the_order_of_the_shards_and_progress_by_count():
    progress = []
    done = await run_all(Script(a=[DIED]), shards("abc"), lambda *at: progress.append(at), at_once=3)
    assert [d.result["name"] for d in done] == ["a", "b", "c"]
    assert progress == [(0, 3), (1, 3), (2, 3), (3, 3)]


async def test_what_workers_report_is_passed_on():
    heard = []
    await run_all(Script(b=[DIED]), shards("abc"), ignore, at_once=1, report=heard.append)
    assert [said["phase"] for said in heard] == ["a", "b", "b", "c"]


@pytest.mark.parametrize("at_once", (1, 2, 5))
async def test_no_more_than_so_many_are_in_hand(at_once):
    executor = Script()
    await run_all(executor, shards("abcdefgh"), ignore, at_once=at_once)
    assert executor.most == at_once


async def test_a_shard_whose_worker_dies_is_tried_again_and_no_other_is():
    executor = Script(b=[DIED, DIED])
    await run_all(executor, shards("abc"), ignore, at_once=2, deaths=3)
    assert executor.attempts == {"a": 1, "b": 3, "c": 1}


async def test_a_shard_that_kills_every_worker_is_given_up():
    executor = Script(b=[DIED] * 9)
    with pytest.raises(TaskFailed) as failure:
        await run_all(executor, shards("ab"), ignore, at_once=1, deaths=3)
    assert failure.value is DIED
    assert executor.attempts == {"a": 1, "b": 3}


async def test_what_a_task_raises_is_not_tried_again_and_stops_the_others():
    executor = Script(a=["hang"], b=[BROKEN])
    with pytest.raises(TaskFailed) as failure:
        await run_all(executor, shards("abcd"), ignore, at_once=2)
    assert failure.value is BROKEN
    assert executor.attempts == {"a": 1, "b": 1}
    assert executor.stopped == 1


async def test_cancelling_stops_all():
    executor = Script(a=["hang"], b=["hang"])
    running = asyncio.create_task(run_all(executor, shards("abc"), ignore, at_once=2))
    for _ in range(10):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (executor.stopped, executor.running) == (2, 0)


async def test_nothing_to_do_is_done():
    assert await run_all(Script(), [], ignore, at_once=1) == []
