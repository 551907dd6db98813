"""The further trainings of one fine-tune, again without some contributors and for those whom it has not followed yet.

On this machine's processes and on a Ray cluster: the same files either way.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openledger import base_models
from openledger.artifacts import ArtifactStore
from services.factory import parts
from services.factory.follow import follow
from services.factory.lines import FOLDER, line
from services.factory.model import FineTune
from services.factory.retrain import retrain
from services.factory.run import SnapshotPin
from services.factory.run_shard import shard
from services.factory.spec import FineTuneSpec
from services.factory.write import INDEX
from services.kit.executor import TaskFailed
from services.kit.executor_local import LocalExecutor
from tests import tiny_model
from tests.executor_world import alive, eventually, ignore, left
from tests.factory_world import SNAPSHOT, address, snapshot_records
from tests.ray_cluster import two_nodes
from tests.shard_bench import Bench

MEMORY = 4 * 2**30


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Records, and a fine-tune of them."""
    base = tiny_model.make(tmp_path_factory.mktemp("base"), layers=2)
    kept = ArtifactStore(tmp_path_factory.mktemp("records"))
    records = kept.put(b"".join(line(r.name, r.contributor, r.fields) for r in snapshot_records(24, 4)))
    spec = FineTuneSpec(
        base=str(base),
        rank=4,
        layers=1,
        epochs=2,
        batch_size=8,
        max_length=64,
        prompt_template="{question}",
        completion_template="{answer}",
        held_out=0.2,
        halves=4,
    )
    pins = (SnapshotPin(SNAPSHOT, "aa" * 32),)
    base_sha256 = base_models.sha256(str(base))
    return kept, FineTune("one", address(1), "letters", spec, pins, base_sha256, 1, datetime.now(UTC), records=records)


@pytest.fixture(scope="module")
def expected(world, tmp_path_factory):
    """What comes of it in this process: bytes by name."""
    kept, job = world
    bench = Bench(tmp_path_factory.mktemp("expected"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(kept.root))
        output = bench.output(bench.all(shard(job), job.spec).fit)
    return {file.name: file.read_bytes() for file in output.iterdir()}


@pytest.fixture(scope="module")
def ray_nodes():
    import ray

    with two_nodes() as nodes:
        yield nodes
        ray.shutdown()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "outputs"


@pytest.fixture(params=("local", pytest.param("ray", marks=pytest.mark.needs("ray"))))
def make(request, root, world):
    """Makes executors that have nothing in common but the folder; two shards have room at once."""
    options = {"environment": {FOLDER: str(world[0].root), "OMP_NUM_THREADS": "1"}, "memory": MEMORY}
    if request.param == "local":
        return lambda: LocalExecutor(root, at_once=2, **options)
    nodes = request.getfixturevalue("ray_nodes")
    from services.kit.executor_ray import RayExecutor

    return lambda: RayExecutor(root, nodes.address, **options)


def finished(root):
    """When each finished shard was made."""
    return {file.parent.name: file.stat().st_mtime_ns for file in root.glob("[0-9a-f]*/result.json")}


def workers(root):
    """Processes that work on a shard right now, by its digest."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = [str(handle.readlink()) for handle in (process / "fd").iterdir()]
        except OSError:
            continue
        found |= {Path(file).parent.name.lstrip("."): int(process.name)
                  for file in held if file.startswith(f"{root}/.") and file.endswith("/lock")}  # fmt: skip
    return found


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_killed_worker_and_a_new_service_cost_what_was_not_finished_and_nothing_else(
    make, world, root, expected
):
    _, job = world
    run, told = shard(job), []
    first = make()
    done = await first.run(run, ignore)

    # A service that is stopped after one of four.
    going = asyncio.create_task(retrain(first, run, job.spec, done, told.append, 2))
    await eventually(lambda: told and told[-1]["step"] >= 1, 300)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert not workers(root)
    before, told = finished(root), []
    assert len(before) >= 3, "run, trunk, and a training again"

    # The next one, under which a worker is killed.
    second = make()
    going = asyncio.create_task(retrain(second, run, job.spec, done, told.append, 2))
    await eventually(lambda: workers(root), 300)
    digest, pid = next(iter(workers(root).items()))
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not alive(pid))
    made = await going
    after = finished(root)
    assert {name: after.get(name) for name in before} == before, "nothing is made again"
    assert digest in after
    assert {file.name: file.read_bytes() for file in made.output.iterdir() if file.name != "result.json"} == expected
    counted = [said["step"] for said in told if said["phase"].endswith("done")]
    assert counted == sorted(counted)
    assert any(said["phase"].endswith("4 of 4 done") for said in told)

    # And one more, which finds all of it.
    assert await retrain(make(), run, job.spec, done, told.append, 2) == made
    assert finished(root) == after
    assert not [name for name in left(root) if name.startswith(".")]


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_training_again_that_cannot_be_is_told_by_its_kind(make, world, root):
    kept, job = world
    run = shard(job)
    executor = make()
    done = await executor.run(run, ignore)
    records = kept.path(job.records)
    hidden = records.rename(records.with_suffix(".away"))
    try:
        with pytest.raises(TaskFailed) as failure:
            await retrain(executor, run, job.spec, done, ignore, 1)
    finally:
        hidden.rename(records)
    assert failure.value.kind == "ArtifactError"
    assert list(finished(root)) == [run.digest()]


@pytest.fixture(scope="module")
def in_parts(world):
    """The same fine-tune, following one of its four contributors at once."""
    _, job = world
    return replace(job, spec=replace(job.spec, halves=0, contributors_at_once=1))


@pytest.fixture(scope="module")
def expected_index(world, in_parts, tmp_path_factory):
    """Of all parts, made in this process."""
    bench, run = Bench(tmp_path_factory.mktemp("parts")), shard(in_parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(world[0].root))
        plan = parts.plan(run, in_parts.spec, 4, bench.done(run)["metrics"]["steps"])
        for one in (*plan.parts, plan.join):
            bench.done(one)
    return (bench.output(plan.join) / INDEX).read_bytes()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_killed_worker_costs_its_own_part_and_a_stopped_service_what_was_not_finished(
    make, in_parts, root, expected_index
):
    run, spec, told = shard(in_parts), in_parts.spec, []
    first = make()
    done = await first.run(run, ignore)

    # A service that is stopped after two of four parts, the run's own among them.
    going = asyncio.create_task(follow(first, run, spec, done, told.append, 1))
    await eventually(lambda: told and told[-1]["step"] >= 2, 300)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert not workers(root)
    before, told = finished(root), []
    assert len(before) >= 2

    # The next one, under which a worker is killed.
    second = make()
    going = asyncio.create_task(follow(second, run, spec, done, told.append, 2))
    await eventually(lambda: workers(root), 300)
    _, pid = next(iter(workers(root).items()))
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not alive(pid))
    indexed, made = await going
    assert told[0]["step"] == 1
    assert any(said["phase"].endswith("4 of 4 parts done") for said in told)
    assert (made.output / INDEX).read_bytes() == expected_index
    assert made.result["contributors"] == done.result["contributors"]
    assert set(finished(root)) == {run.digest(), indexed.digest()}, "rows are kept once"

    # And one more, which finds it.
    assert await follow(make(), run, spec, done, told.append, 2) == (indexed, made)
    assert not [name for name in left(root) if name.startswith(".")]
