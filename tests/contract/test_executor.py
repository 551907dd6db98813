"""What every executor owes: results found again, failures told, nothing half done left where a result would be."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.kit.executor import Shard, TaskFailed
from services.kit.executor_local import LocalExecutor

TASKS = "tests.contract.executor_tasks"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "outputs"


@pytest.fixture
def executor(root):
    return LocalExecutor(root, at_once=3)


def counting(tmp_path, n=5):
    return Shard(f"{TASKS}:count", {"n": n, "log": str(tmp_path / "log")})


def ignore(report):
    """For tests that ask nothing of reports."""


def alive(pid):
    """Whether a process runs; a zombie that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"


def eventually(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_a_task_reports_in_order_and_returns_files_and_result(executor, tmp_path):
    reports = []
    done = await executor.run(counting(tmp_path, 200), reports.append)
    assert [r["i"] for r in reports] == list(range(200))
    assert done.result == {"sum": 19900}
    assert (done.output / "numbers").read_text() == ",".join(map(str, range(200)))


async def test_a_finished_shard_is_found_and_not_run_again(executor, root, tmp_path):
    first = await executor.run(counting(tmp_path), ignore)
    second = await LocalExecutor(root).run(counting(tmp_path), ignore)
    assert second == first
    assert (tmp_path / "log").read_text() == "ran\n"


async def test_other_arguments_are_another_shard(executor, tmp_path):
    first = await executor.run(counting(tmp_path, 3), ignore)
    second = await executor.run(counting(tmp_path, 4), ignore)
    assert first.output != second.output
    assert (first.result, second.result) == ({"sum": 3}, {"sum": 6})


async def test_what_a_task_raises_is_told_and_leaves_nothing(executor, root):
    with pytest.raises(TaskFailed) as failure:
        await executor.run(Shard(f"{TASKS}:fail", {"key": "colour"}), ignore)
    assert failure.value.kind == "KeyError"
    assert failure.value.message == "'colour'"
    assert list(root.iterdir()) == []


async def test_a_task_that_is_not_there_is_told(executor):
    with pytest.raises(TaskFailed) as failure:
        await executor.run(Shard(f"{TASKS}:nothing", {}), ignore)
    assert failure.value.kind == "AttributeError"


async def test_a_worker_that_dies_is_told_and_leaves_nothing(executor, root):
    with pytest.raises(TaskFailed) as failure:
        await executor.run(Shard(f"{TASKS}:die", {}), ignore)
    assert failure.value.kind == "WorkerDied"
    assert list(root.iterdir()) == []


async def test_output_appears_all_at_once_or_not_at_all(executor, root):
    shard, started = Shard(f"{TASKS}:hang", {}), asyncio.Event()
    running = asyncio.create_task(executor.run(shard, lambda report: started.set()))
    await asyncio.wait_for(started.wait(), 20)
    assert [path.read_text() for path in root.glob(".*/output/half")] == ["half of it"]
    assert not (root / shard.digest()).exists()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_cancelling_ends_the_worker_and_leaves_nothing(executor, root):
    pids = []
    started = asyncio.Event()

    def note(report):
        pids.append(report["pid"])
        started.set()

    running = asyncio.create_task(executor.run(Shard(f"{TASKS}:hang", {}), note))
    await asyncio.wait_for(started.wait(), 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not alive(pids[0])
    assert list(root.iterdir()) == []


async def test_cancelling_while_the_worker_is_being_started_leaves_nothing(executor, root):
    for pause in (0, 0.001, 0.01, 0.1):
        running = asyncio.create_task(executor.run(Shard(f"{TASKS}:hang", {"pause": pause}), ignore))
        await asyncio.sleep(pause)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not root.exists() or list(root.iterdir()) == []


async def test_the_same_shard_twice_at_once_is_run_once(executor, tmp_path):
    first, second = await asyncio.gather(*(executor.run(counting(tmp_path, 50), ignore) for _ in range(2)))
    assert first == second
    assert (tmp_path / "log").read_text() == "ran\n"


async def test_shards_run_beside_each_other(executor, tmp_path):
    done = await asyncio.gather(*(executor.run(counting(tmp_path, n), ignore) for n in range(1, 4)))
    assert [d.result["sum"] for d in done] == [0, 1, 3]


PARENT = f"""
import asyncio, json, sys
from pathlib import Path
from services.kit.executor import Shard
from services.kit.executor_local import LocalExecutor

def tell(report):
    print(json.dumps(report), flush=True)

asyncio.run(LocalExecutor(Path(sys.argv[1])).run(Shard("{TASKS}:hang", {{}}), tell))
"""


def test_a_worker_dies_with_its_parent_and_the_next_run_clears_up(root):
    workers = []
    for _ in range(2):
        parent = subprocess.Popen([sys.executable, "-c", PARENT, str(root)], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        worker = json.loads(parent.stdout.readline())["pid"]
        parent.kill()
        parent.wait()
        parent.stdout.close()
        eventually(lambda pid=worker: not alive(pid))
        workers.append(worker)
        assert len(list(root.iterdir())) == 1  # what the first one left was cleared away by the second run
    assert workers[0] != workers[1]


def test_a_worker_that_is_stopped_by_a_signal_takes_its_children_along(root):
    # The parent ends by SIGTERM as a service does at its end: asyncio cancels, the worker's whole group is killed.
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(root)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    worker = json.loads(parent.stdout.readline())["pid"]
    assert os.getpgid(worker) == worker
    parent.send_signal(signal.SIGINT)
    parent.wait(10)
    parent.stdout.close()
    assert not alive(worker)
    assert list(root.iterdir()) == []
