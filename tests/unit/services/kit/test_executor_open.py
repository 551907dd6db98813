"""Which executor is opened, and what is said where there is none."""

from __future__ import annotations

import signal
import socket
import sys

import pytest

from services.kit import executor_open
from services.kit.executor_local import LocalExecutor
from services.kit.executor_open import open_executor
from tests.needs import needs


@pytest.mark.parametrize(("cores", "cpus", "at_once"), ((8, 2, 4), (8, 3, 2), (2, 4, 1), (None, 1, 1)))
def test_on_one_machine_as_many_run_at_once_as_its_cores_allow(tmp_path, monkeypatch, cores, cpus, at_once):
    made = {}
    monkeypatch.setattr(executor_open.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(executor_open, "LocalExecutor", lambda root, **options: made.update(options))
    open_executor("local", tmp_path, cpus=cpus, memory=5)
    assert made == {"environment": None, "at_once": at_once, "memory": 5}


def test_local_needs_no_closing(tmp_path):
    executor = open_executor("local", tmp_path)
    assert isinstance(executor, LocalExecutor)
    executor.close()


@pytest.mark.parametrize("where", ("", "Local", "ray", "ray:", "slurm:a", "local ", "ray: auto"))
def test_what_is_no_executor_is_refused(tmp_path, where):
    with pytest.raises(ValueError, match="an executor is local, ray:auto"):
        open_executor(where, tmp_path)


def test_without_ray_it_is_said_how_to_have_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "services.kit.executor_ray", raising=False)
    with pytest.raises(ConnectionError, match=r"openledger\[ray\]"):
        open_executor("ray:auto", tmp_path)


@needs("ray")
@pytest.mark.parametrize("kind", ("ray:", "ray://"))
def test_a_cluster_that_does_not_answer_is_told_at_once_and_changes_no_signal(tmp_path, kind):
    before = signal.getsignal(signal.SIGTERM)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{kind}127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="no Ray cluster answers at"):
            open_executor(address, tmp_path)
    with pytest.raises(ConnectionError, match="no Ray cluster answers at nowhere"):
        open_executor(f"{kind}nowhere", tmp_path) if kind == "ray:" else open_executor("ray:nowhere", tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before
