"""What is made of Ray's ways of losing things, without a cluster."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from services.kit.executor import TaskFailed
from tests import ray_cluster  # noqa: F401 - sets what Ray reads when it is imported
from tests.needs import needs

pytestmark = needs("ray")


@pytest.fixture
def ours():
    from services.kit import executor_ray

    return executor_ray


@pytest.fixture
def fake(ours, monkeypatch):
    """Ray with a cluster that is joined once `failures` are used up."""
    fake = SimpleNamespace(failures=[], inits=0, joined=False)

    def init(*_, **__):
        fake.inits += 1
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if fake.failures:
            raise fake.failures.pop(0)
        fake.joined = True

    monkeypatch.setattr(ours.ray, "init", init)
    monkeypatch.setattr(ours.ray, "is_initialized", lambda: fake.joined)
    monkeypatch.setattr(ours.ray, "shutdown", lambda: None)
    monkeypatch.setattr(ours.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    monkeypatch.setattr(ours, "_AWAY_SECONDS", 0)
    return fake


def test_joining_leaves_the_service_its_own_way_to_end(ours, fake):
    before = signal.getsignal(signal.SIGTERM)
    ours.connect("auto")
    fake.failures = [ConnectionError("away")]
    with pytest.raises(ConnectionError, match="no Ray cluster answers at auto: away"):
        ours.connect("auto")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_client_server_that_dies_at_its_birth_is_asked_for_again(ours, fake):
    fake.failures = [ConnectionAbortedError("died")] * 2
    ours.connect("auto")
    assert fake.inits == 3
    fake.failures = [ConnectionAbortedError("died")] * 3
    with pytest.raises(ConnectionError, match="died"):
        ours.connect("auto")


async def test_a_lost_cluster_is_waited_for_and_joined_once(ours, fake, tmp_path):
    executor = ours.RayExecutor(tmp_path, "auto")
    assert fake.inits == 1
    fake.joined, fake.failures = False, [ConnectionError("away")] * 2
    await asyncio.gather(executor._joined(), executor._joined())
    assert fake.inits == 4


@pytest.mark.parametrize(("cpus", "warned"), ((2, False), (3, True)))
def test_shards_that_fit_no_node_are_warned_of(ours, fake, tmp_path, cpus, warned):
    with capture_logs() as said:
        ours.RayExecutor(tmp_path, "auto", cpus=cpus)
    assert [line["cpus"] for line in said] == [cpus] * warned


async def finished(result=None, error=None):
    future = asyncio.get_running_loop().create_future()
    future.set_exception(error) if error else future.set_result(result)
    return future


async def test_what_a_supervisor_says_is_taken_as_it_is(ours):
    ended = {"status": -9, "failed": None, "reported": 3}
    assert ours._outcome(await finished(json.dumps(ended).encode())) == ended


async def test_what_ray_lost_is_a_worker_that_died_and_says_how(ours):
    from ray import exceptions

    lost = (
        exceptions.WorkerCrashedError(),
        exceptions.NodeDiedError("the node died\nof old age"),
        exceptions.OutOfMemoryError("the node ran out of memory"),
        exceptions.TaskCancelledError(),
        ConnectionError("the client was away for too long"),
    )
    for error in lost:
        with pytest.raises(TaskFailed) as failure:
            ours._outcome(await finished(error=error))
        assert failure.value.kind == "WorkerDied"
        assert failure.value.message == str(error).partition("\n")[0]


async def test_a_node_that_cannot_start_a_worker_is_told_from_one_that_lost_it(ours):
    from ray.exceptions import RayTaskError, TaskCancelledError

    for cause, kind in ((PermissionError("no"), "PermissionError"), (TaskCancelledError(), "WorkerDied")):
        error = RayTaskError("_supervise", "traceback", cause).as_instanceof_cause()
        with pytest.raises(TaskFailed) as failure:
            ours._outcome(await finished(error=error))
        assert failure.value.kind == kind


async def test_reports_are_passed_on_once_each_when_they_are_whole(ours, tmp_path):
    file, reports = tmp_path / "reports", []
    tail = ours._Tail(file, reports.append)
    await tail.deliver()
    file.write_bytes(b'{"report": {"i": 0}}\n{"report": {"i"')
    await tail.deliver()
    assert reports == [{"i": 0}]
    assert not await tail.has(file.stat().st_size)
    with file.open("ab") as more:
        more.write(b': 1}}\n{"report": {"i": 2}}\n')
    assert await tail.has(file.stat().st_size)
    assert reports == [{"i": 0}, {"i": 1}, {"i": 2}]
