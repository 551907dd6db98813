"""What every executor owes, on this machine's processes and on a Ray cluster of two nodes.

Results found again, failures told, nothing half done where a result would be, and nothing lost that a worker's death
need not lose.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from services.kit.executor import MAX_REPORT_BYTES, TaskFailed, run_all
from services.kit.executor_local import LocalExecutor
from tests.executor_world import alive, eventually, hanging, ignore, left, log, service, task
from tests.ray_cluster import raylet, two_nodes

MEMORY = 2**30


@pytest.fixture(scope="module")
def ray_nodes():
    import ray

    with two_nodes() as nodes:
        yield nodes
        ray.shutdown()


@pytest.fixture(params=("local", pytest.param("ray", marks=pytest.mark.needs("ray"))))
def make(request, root):
    """Makes executors that have nothing in common but the folder; two shards have room at once."""
    options = {"environment": {"OPENLEDGER_COLOUR": "green"}, "memory": MEMORY}
    if request.param == "local":
        return lambda: LocalExecutor(root, at_once=2, **options)
    nodes = request.getfixturevalue("ray_nodes")
    from services.kit.executor_ray import RayExecutor

    return lambda: RayExecutor(root, nodes.address, **options)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "outputs"


@pytest.fixture
def executor(make):
    return make()


@pytest.fixture
def counting(tmp_path):
    return lambda n=5: task("count", n=n, log=str(tmp_path / "log"))


# --- results ----------------------------------------------------------------------------------------------------------


async def test_a_task_reports_in_order_and_returns_files_and_result(executor, counting, root):
    reports = []
    done = await executor.run(counting(200), reports.append)
    assert [r["i"] for r in reports] == list(range(200))
    assert done.result == {"sum": 19900}
    assert (done.output / "numbers").read_text() == ",".join(map(str, range(200)))
    assert left(root) == [counting(200).digest()], "scratch is gone"


async def test_a_finished_shard_is_found_and_not_run_again(make, counting, tmp_path):
    first = await make().run(counting(), ignore)
    assert await make().run(counting(), ignore) == first
    assert log(tmp_path) == ["ran"]


async def test_other_arguments_are_another_shard(executor, counting):
    first, second = await executor.run(counting(3), ignore), await executor.run(counting(4), ignore)
    assert first.output != second.output
    assert (first.result, second.result) == ({"sum": 3}, {"sum": 6})


async def test_the_same_shard_twice_at_once_is_run_once(executor, counting, tmp_path):
    first, second = await asyncio.gather(*(executor.run(counting(50), ignore) for _ in range(2)))
    assert first == second
    assert log(tmp_path) == ["ran"]


async def test_the_same_shard_for_two_services_at_once_is_run_once(make, counting, tmp_path):
    first, second = await asyncio.gather(*(make().run(counting(50), ignore) for _ in range(2)))
    assert first == second
    assert log(tmp_path) == ["ran"]


async def test_shards_run_beside_each_other(executor, tmp_path):
    shards = [task("hold", name=n, log=str(tmp_path / "log"), go=str(tmp_path / "go")) for n in "ab"]
    running = [asyncio.create_task(executor.run(shard, ignore)) for shard in shards]
    await eventually(lambda: len(log(tmp_path)) == 2)
    (tmp_path / "go").touch()
    assert [done.result for done in await asyncio.gather(*running)] == [{"resumed": False}] * 2


async def test_a_task_reads_the_outputs_of_finished_shards_and_of_no_others(executor, counting):
    done = await executor.run(counting(3), ignore)
    following = await executor.run(task("follow", input=done.output.name), ignore)
    assert following.result == {"read": "0,1,2"}
    for name in (counting(4).digest(), "..", f"../{done.output.name}", ""):
        with pytest.raises(TaskFailed) as failure:
            await executor.run(task("follow", input=name), ignore)
        assert failure.value.kind == "NotFinished"


async def test_a_task_finds_the_environment_that_its_service_chose(executor):
    done = await executor.run(task("surroundings", name="OPENLEDGER_COLOUR"), ignore)
    assert done.result == {"value": "green"}


# --- JSON and nothing else --------------------------------------------------------------------------------------------


async def test_big_reports_arrive_and_too_big_ones_are_refused(executor):
    sizes, reports = [3 * 2**20, 1, 2**20], []
    await executor.run(task("speak", sizes=sizes), reports.append)
    assert [len(r["text"]) for r in reports] == sizes
    with pytest.raises(TaskFailed, match="write it to a file") as failure:
        await executor.run(task("speak", sizes=[MAX_REPORT_BYTES]), ignore)
    assert failure.value.kind == "ValueError"


@pytest.mark.parametrize(
    ("name", "what", "kind"),
    (
        ("report_odd", "set", "TypeError"),
        ("report_odd", "nan", "ValueError"),
        ("return_odd", "path", "TypeError"),
        ("return_odd", "list", "TypeError"),
    ),
)
async def test_what_is_not_json_is_neither_reported_nor_returned(executor, root, name, what, kind):
    with pytest.raises(TaskFailed) as failure:
        await executor.run(task(name, what=what), ignore)
    assert failure.value.kind == kind
    assert left(root) == []


@pytest.mark.parametrize("value", ({1, 2}, Path("a"), float("nan"), 2**53, b"bytes"))
async def test_what_is_not_json_is_not_sent(executor, root, value):
    with pytest.raises(ValueError):  # noqa: PT011 - of the canonical form, which says it in its own words
        await executor.run(task("count", n=value), ignore)
    assert left(root) == []


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_what_a_task_raises_is_told_and_leaves_nothing(executor, root):
    with pytest.raises(TaskFailed) as failure:
        await executor.run(task("fail", key="colour"), ignore)
    assert (failure.value.kind, failure.value.message) == ("KeyError", "'colour'")
    assert left(root) == []


async def test_a_task_that_is_not_there_is_told(executor):
    with pytest.raises(TaskFailed) as failure:
        await executor.run(task("nothing"), ignore)
    assert failure.value.kind == "AttributeError"


async def test_a_worker_beyond_its_memory_is_told_and_harms_nobody(executor):
    with pytest.raises(TaskFailed) as failure:
        await executor.run(task("devour", bytes=2 * MEMORY), ignore)
    assert failure.value.kind == "MemoryError"
    assert (await executor.run(task("devour", bytes=MEMORY // 4), ignore)).result == {"length": MEMORY // 4}


async def test_a_worker_that_dies_is_told_and_leaves_nothing(executor, root):
    with pytest.raises(TaskFailed) as failure:
        await executor.run(task("die"), ignore)
    assert failure.value.kind == "WorkerDied"
    assert left(root) == []


async def test_a_worker_that_is_killed_is_told_and_takes_along_what_it_started(executor, root):
    running, worker = await hanging(executor)
    os.kill(worker["pid"], signal.SIGKILL)
    with pytest.raises(TaskFailed) as failure:
        await running
    assert failure.value.kind == "WorkerDied"
    await eventually(lambda: not alive(worker["helper"]))
    assert left(root) == []


async def test_scratch_outlives_a_worker_and_output_does_not(make, root, tmp_path):
    shard = task("resume", deaths=2, log=str(tmp_path / "log"))
    for _ in range(2):
        with pytest.raises(TaskFailed) as failure:
            await make().run(shard, ignore)
        assert failure.value.kind == "WorkerDied"
        assert left(root / f".{shard.digest()}") == ["lock", "scratch"]
    done = await make().run(shard, ignore)
    assert done.result == {"attempts": 3}
    assert left(done.output) == ["attempt-3", "result.json"]
    assert left(root) == [shard.digest()]


async def test_a_result_is_looked_up_without_work_and_can_be_taken_away(make, root, counting, tmp_path):
    executor = make()
    assert await executor.find(counting()) is None
    made = await executor.run(counting(), ignore)
    assert await make().find(counting()) == made
    await executor.remove(counting())
    await executor.remove(counting())
    assert (await executor.find(counting()), left(root)) == (None, [])
    assert await executor.run(counting(), ignore) == made
    assert log(tmp_path) == ["ran", "ran"]


async def test_what_nobody_will_ask_for_again_is_discarded(executor, root, tmp_path):
    shard = task("resume", deaths=1, log=str(tmp_path / "log"))
    with pytest.raises(TaskFailed):
        await executor.run(shard, ignore)
    await executor.discard(shard)
    assert left(root) == []
    await executor.discard(shard)


# --- second thoughts --------------------------------------------------------------------------------------------------


async def test_cancelling_ends_the_worker_and_whoever_works_for_it(executor, root):
    running, worker = await hanging(executor)
    assert [path.read_text() for path in root.glob(".*/output/half")] == ["half of it"], (
        "not yet where a result would be"
    )
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not alive(worker["pid"])
    await eventually(lambda: not alive(worker["helper"]))
    assert left(root) == []


async def test_cancelling_while_the_worker_is_being_started_leaves_nothing(executor, root):
    for pause in (0, 0.001, 0.01, 0.1):
        running = asyncio.create_task(executor.run(task("hang", pause=pause), ignore))
        await asyncio.sleep(pause)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert left(root) == []


# --- many at once -----------------------------------------------------------------------------------------------------


async def test_of_many_the_dead_are_tried_again_and_the_finished_are_not_redone(executor, tmp_path):
    shards = [task("resume", deaths=n, name=n, log=str(tmp_path / "log")) for n in (0, 1, 2)]
    progress = []
    results = await run_all(executor, shards, lambda *at: progress.append(at), at_once=2)
    assert [done.result["attempts"] for done in results] == [1, 2, 3]
    assert progress == [(0, 3), (1, 3), (2, 3), (3, 3)]
    ran = log(tmp_path)
    assert await run_all(executor, shards, ignore, at_once=2) == results
    assert log(tmp_path) == ran


async def test_what_kills_its_workers_is_given_up_and_the_others_are_stopped(executor, root):
    shards = [task("hang"), task("die")]
    with pytest.raises(TaskFailed) as failure:
        await run_all(executor, shards, ignore, at_once=2, deaths=2)
    assert failure.value.kind == "WorkerDied"
    assert left(root) == []


# --- the service itself -----------------------------------------------------------------------------------------------


@pytest.fixture(params=("local", pytest.param("ray", marks=pytest.mark.needs("ray"))))
def where(request):
    return "local" if request.param == "local" else f"ray:{request.getfixturevalue('ray_nodes').address}"


async def test_a_worker_dies_with_its_service_and_the_next_one_clears_up(where, root):
    workers = []
    for _ in range(2):
        with service(where, root, task("hang")) as (process, said):
            workers.append((await asyncio.to_thread(next, said))["pid"])
            process.kill()
        await eventually(lambda: not alive(workers[-1]))
        assert len(left(root)) == 1, "what the first one left was cleared away by the second"
    assert workers[0] != workers[1]


async def test_a_service_that_is_stopped_ends_its_worker_and_leaves_nothing(where, root):
    with service(where, root, task("hang")) as (process, said):
        worker = (await asyncio.to_thread(next, said))["pid"]
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.wait, 20)
    await eventually(lambda: not alive(worker))
    assert left(root) == []


# --- Ray alone --------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_ray(ray_nodes, root):
    from services.kit.executor_ray import RayExecutor

    return RayExecutor(root, ray_nodes.address)


@pytest.mark.needs("ray")
async def test_a_supervisor_that_is_killed_takes_its_worker_along(on_ray, root):
    running, worker = await hanging(on_ray)
    os.kill(worker["parent"], signal.SIGKILL)
    with pytest.raises(TaskFailed) as failure:
        await running
    assert failure.value.kind == "WorkerDied"
    assert not alive(worker["pid"])
    assert left(root) == []


@pytest.mark.needs("ray")
async def test_a_service_outside_the_cluster_runs_its_shards_through_ray_client(ray_nodes, root, counting):
    with service(ray_nodes.client, root, counting(3)) as (_, said):
        assert await asyncio.to_thread(list, said) == [{"i": 0}, {"i": 1}, {"i": 2}, {"sum": 3}]


@pytest.mark.long
@pytest.mark.needs("ray")
async def test_shards_of_a_lost_node_go_on_elsewhere(ray_nodes, on_ray, tmp_path):
    doomed = ray_nodes.add_node()
    shards = [task("hold", name=n, log=str(tmp_path / "log"), go=str(tmp_path / "go")) for n in "abc"]
    running = asyncio.create_task(run_all(on_ray, shards, ignore, at_once=3))
    await eventually(lambda: len(log(tmp_path)) == 3)
    where = {line.split()[1]: line.split() for line in log(tmp_path)}
    assert len(where) == 3, "a shard a node"
    name, lost, pid = where[raylet(doomed)]
    await asyncio.to_thread(ray_nodes.lose, doomed)
    await eventually(lambda: not alive(pid))
    (tmp_path / "go").touch()
    results = await running
    assert [done.result["resumed"] for done in results] == [n == name for n in "abc"]
    [again] = [line.split() for line in log(tmp_path)[3:]]
    assert again[0] == name
    assert again[1] in where.keys() - {lost}
