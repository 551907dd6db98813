"""The fork server: warm workers, and no end that is missed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.kit.executor import Shard
from services.kit.executor_folder import ShardFolder
from services.kit.executor_forkserver import ForkServer
from services.kit.executor_worker import Order, end
from tests.executor_world import alive, task


@pytest.fixture
def server():
    return ForkServer()


def said(line):
    """What a worker says until it has ended."""
    with line, line.makefile("rb") as file:
        return [json.loads(message) for message in file]


def until_gone(pid):
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def work(server, order):
    """The status of a worker that was given an order, and what it said."""
    pid, line = server.fork(order.shard.task.partition(":")[0])
    line.sendall(order.line())
    heard = said(line)
    return server.wait(pid), heard


def imported(server, root, **arguments):
    """What a worker says of a module that it imports."""
    order = Order(root, task("imported", **arguments), {}, None, None)
    assert work(server, order) == (0, [])
    return ShardFolder(order.root, order.shard).done().result["before"]


def test_a_worker_finds_imported_what_its_module_says_that_tasks_will_import(server, tmp_path):
    assert imported(server, tmp_path, name="colorsys")


def test_what_one_task_imports_is_not_there_for_the_next(server, tmp_path):
    assert [imported(server, tmp_path, name="sndhdr", number=n) for n in range(2)] == [False, False]


def test_a_module_that_cannot_be_imported_is_told_by_the_worker(server, tmp_path):
    status, [message] = work(server, Order(tmp_path, Shard("tests.is_not_there:run", {}), {}, None, None))
    assert (status, message["failed"]["kind"]) == (1, "ModuleNotFoundError")


def test_a_worker_that_was_killed_is_known_by_its_signal(server):
    pid, line = server.fork("json")
    os.kill(pid, signal.SIGKILL)
    assert said(line) == []
    assert server.wait(pid) == -signal.SIGKILL


def test_a_worker_can_be_ended_before_it_has_run(server):
    for _ in range(50):
        pid, line = server.fork("json")
        end(pid)
        line.close()
        assert server.wait(pid) == -signal.SIGKILL


def test_nothing_is_known_of_somebody_elses_process(server):
    pid, line = server.fork("json")
    with line:
        os.kill(pid, signal.SIGKILL)
        assert server.wait(pid) == -signal.SIGKILL
    assert server.wait(pid) is None
    assert server.wait(os.getpid()) is None


def test_a_server_that_was_killed_takes_its_workers_along_and_another_takes_its_place(server, tmp_path):
    pid, line = server.fork("json")
    os.kill(int(Path(f"/proc/{pid}/stat").read_text().split()[3]), signal.SIGKILL)
    assert said(line) == []
    until_gone(pid)
    assert server.wait(pid) is None
    assert imported(server, tmp_path, name="colorsys")


SERVICE = """
import os, time
from services.kit.executor_forkserver import ForkServer

server = ForkServer()
pid, line = server.fork("json")
print(pid, server._process.pid, flush=True)
time.sleep(600)
"""


def test_server_and_workers_end_with_their_service():
    with subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True) as service:
        worker, server = map(int, service.stdout.readline().split())
        assert alive(worker)
        service.kill()
        until_gone(worker)
        until_gone(server)
