"""What the executor of one machine owes besides: it does not thrash, and speaks of memory in one word."""

from __future__ import annotations

import asyncio

import pytest

from services.kit.executor import Shard, TaskFailed
from services.kit.executor_folder import ShardFolder
from services.kit.executor_local import LocalExecutor
from tests.executor_world import task


async def test_two_jobs_queue_up_for_the_same_workers(tmp_path, monkeypatch):
    executor, running, most = LocalExecutor(tmp_path, at_once=2), 0, 0

    async def child(order, report):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    monkeypatch.setattr(executor, "_run_child", child)
    shards = [Shard("a:b", {"n": n}) for n in range(8)]
    await asyncio.gather(*(executor.run(shard, print) for shard in shards), return_exceptions=True)
    assert most == 2


async def test_a_shard_asked_for_twice_takes_one_worker(tmp_path, monkeypatch):
    executor, workers = LocalExecutor(tmp_path, at_once=2), 0

    async def child(order, report):
        nonlocal workers
        workers += 1
        await asyncio.sleep(0.01)
        folder = ShardFolder(order.root, order.shard)
        folder.unfinished.mkdir()
        folder.begin()
        folder.publish({})

    monkeypatch.setattr(executor, "_run_child", child)
    await asyncio.gather(*(executor.run(Shard("a:b", {}), print) for _ in range(2)))
    assert workers == 1


async def test_a_worker_that_ends_as_if_it_were_done_is_told_from_one_that_is(tmp_path):
    with pytest.raises(TaskFailed, match=str(tmp_path)) as failure:
        await LocalExecutor(tmp_path).run(task("leave"), print)
    assert failure.value.kind == "ResultMissing"


async def test_a_library_that_runs_out_of_memory_is_told_as_one(tmp_path):
    executor = LocalExecutor(tmp_path, memory=4 * 2**30)
    with pytest.raises(TaskFailed) as failure:
        await executor.run(task("devour_tensor", bytes=2**33), print)
    assert failure.value.kind == "MemoryError"
