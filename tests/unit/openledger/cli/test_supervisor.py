"""The supervisor with small programs of its own: readiness, restarts, order, ports."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from openledger.cli import supervisor as module
from openledger.cli.installation import Process
from openledger.cli.supervisor import StartFailed, Supervisor

READY = """
import json, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("warming up", flush=True)
print(json.dumps({"serving": True}), flush=True)
"""
SERVE = READY + "while True: time.sleep(0.05)"
LEAVES_ONE_BEHIND = """
import pathlib, subprocess, sys
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
left = subprocess.Popen([sys.executable, "-c", deaf])
with pathlib.Path({file!r}).open("a") as file: print(left.pid, file=file)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def program(tmp_path):
    def make(name: str, code: str = SERVE, port: int | None = None) -> Process:
        return Process(name, (sys.executable, "-c", code), {}, tmp_path / f"{name}.log", (port or free_port(),))

    return make


async def until(condition, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether it runs: an orphan that nobody has buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().splitlines()]


async def test_waves_start_in_order_and_stop_in_reverse(program):
    said = []
    waves = [[program("first")], [program("second")]]
    async with Supervisor(waves, lambda name, what: said.append((name, what))) as supervisor:
        ran = [supervisor.pid("first"), supervisor.pid("second")]
    assert said == [
        ("first", "starting"),
        ("first", "ready"),
        ("second", "starting"),
        ("second", "ready"),
        ("second", "stopped"),
        ("first", "stopped"),
    ]
    assert not any(alive(pid) for pid in ran)


async def test_what_is_killed_is_started_again(program):
    said = []
    async with Supervisor([[program("p")]], lambda name, what: said.append(what)) as supervisor:
        first = supervisor.pid("p")
        os.kill(first, signal.SIGKILL)
        await until(lambda: said[-1] == "ready" and len(said) > 2)
        assert supervisor.pid("p") != first
    assert said[2] == "ended with status -9: restarting"


async def test_what_cannot_start_is_told_with_its_last_words(program):
    broken = program("broken", "import sys; sys.stderr.write('no such database'); sys.exit(3)")
    healthy = program("healthy")
    with pytest.raises(StartFailed, match=r"(?s)broken ended with status 3.*no such database"):
        async with Supervisor([[healthy], [broken]], lambda *_: None):
            pytest.fail("it must not come up")


async def test_what_keeps_dying_is_given_up(program):
    dying = program("dying", "import json; print(json.dumps({'serving': True}), flush=True)")
    async with Supervisor([[dying]], lambda *_: None) as supervisor:
        with pytest.raises(StartFailed, match="dying died 5 times"):
            await asyncio.wait_for(supervisor.watch(asyncio.sleep(60)), 30)


async def test_what_is_killed_while_it_starts_is_started_again(program, tmp_path):
    # Its second life is cut short before it is ready; the third one comes up.
    flag = tmp_path / "lives"
    code = f"""
import os, pathlib, signal
lives = pathlib.Path({str(flag)!r})
lives.write_text((lives.read_text() if lives.exists() else '') + 'x')
if len(lives.read_text()) == 2: os.kill(os.getpid(), signal.SIGKILL)
{SERVE}"""
    said = []
    async with Supervisor([[program("p", code)]], lambda name, what: said.append(what)) as supervisor:
        os.kill(supervisor.pid("p"), signal.SIGKILL)
        await until(lambda: said.count("ready") == 2)
    assert "ended while it was starting: restarting" in said


async def test_a_taken_port_is_named(program):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = program("p", port=taken.getsockname()[1])
        with pytest.raises(StartFailed, match=rf"port {process.ports[0]} for p is taken"):
            async with Supervisor([[process]], lambda *_: None):
                pytest.fail("it must not come up")


async def test_what_a_dead_one_left_behind_is_killed_and_does_not_delay_the_next_life(program, tmp_path):
    # Like vLLM's own process: it holds on to the output of the service that was killed.
    file, said = tmp_path / "left", []
    code = LEAVES_ONE_BEHIND.format(file=str(file)) + SERVE
    async with Supervisor([[program("p", code)]], lambda name, what: said.append(what)) as supervisor:
        os.kill(supervisor.pid("p"), signal.SIGKILL)
        await until(lambda: said.count("ready") == 2)
        assert [alive(pid) for pid in pids(file)] == [False, True]
    await until(lambda: [alive(pid) for pid in pids(file)] == [False, False])


async def test_a_line_of_any_length_does_not_end_the_watch(program):
    process, said = program("p", READY + "print('x' * 300_000, end='', flush=True)\nwhile True: time.sleep(0.05)"), []
    async with Supervisor([[process]], lambda name, what: said.append(what)) as supervisor:
        await until(lambda: process.log.stat().st_size > 200_000)
        os.kill(supervisor.pid("p"), signal.SIGKILL)
        await until(lambda: said.count("ready") == 2)


async def test_what_does_not_get_ready_again_is_not_left_running_beside_its_successor(program, tmp_path, monkeypatch):
    lives = tmp_path / "lives"
    code = f"""
import os, pathlib, time
lives = pathlib.Path({str(lives)!r})
with lives.open("a") as file: print(os.getpid(), file=file)
if len(lives.read_text().split()) == 2: time.sleep(600)
{SERVE}"""
    said = []
    async with Supervisor([[program("p", code)]], lambda name, what: said.append(what)) as supervisor:
        monkeypatch.setattr(module, "READY_SECONDS", 1)
        os.kill(supervisor.pid("p"), signal.SIGKILL)
        await until(lambda: said.count("ready") == 2)
        assert [alive(pid) for pid in pids(lives)] == [False, False, True]
