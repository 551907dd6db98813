"""The command line: how it is stopped, what it refuses, and that nothing it started outlives it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from openledger.cli import doctor
from openledger.cli.installation import Installation, InUse, ports
from openledger.cli.main import app
from tests.needs import ROOT

# A command that keeps one program running, which takes a moment to end, and writes down the program's process id.
KEEPS = '''
import asyncio, pathlib, sys, typer
from openledger.cli.installation import Installation, Process
from openledger.cli.main import _run
from openledger.cli.supervisor import Supervisor

code = """
import json, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit(0)))
print(json.dumps({"serving": True}), flush=True)
while True: time.sleep(0.05)
"""
folder = pathlib.Path(sys.argv[1])
program = Process("p", (sys.executable, "-c", code), {}, folder / "log", ())

async def keep():
    async with Supervisor([[program]], lambda *_: None) as supervisor:
        (folder / "new").write_text(str(supervisor.pid("p")))
        (folder / "new").rename(folder / "pid")
        await asyncio.sleep(60)

app = typer.Typer()
app.command()(lambda: _run(Installation(folder), keep, print))
app(args=[])
'''


def running(pid: int) -> bool:
    """Whether it runs: an orphan that nobody has buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def keeper(tmp_path):
    """(the command's process, the process id of what it started)."""
    arguments = [sys.executable, "-c", KEEPS, str(tmp_path)]
    command = await asyncio.to_thread(subprocess.Popen, arguments, cwd=ROOT, stdout=subprocess.PIPE)
    await until((tmp_path / "pid").exists)
    yield command, int((tmp_path / "pid").read_text())
    command.kill()
    command.communicate()


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
async def test_whoever_tells_it_to_stop_it_stops_what_it_started_first(keeper, number):
    command, child = keeper
    command.send_signal(number)
    said, _ = await asyncio.to_thread(command.communicate, timeout=20)
    assert not running(child)
    assert command.returncode == 128 + number
    assert b"Nothing is lost" in said


@pytest.mark.parametrize(
    "numbers", ((signal.SIGKILL,), (signal.SIGINT, signal.SIGINT)), ids=("kill -9", "ctrl-C twice")
)
async def test_nothing_outlives_it_even_when_it_ends_badly(keeper, numbers):
    command, child = keeper
    for number in numbers:
        command.send_signal(number)
        await asyncio.sleep(0.1)
    await asyncio.to_thread(command.wait, 20)
    await until(lambda: not running(child))


def test_two_at_once_in_one_folder_are_refused(tmp_path):
    refused = pytest.raises(InUse, match=f"another openledger runs in {tmp_path}")
    with Installation(tmp_path).held(), refused, Installation(tmp_path).held():
        pytest.fail("it is held")
    with Installation(tmp_path).held():
        pass


@pytest.mark.parametrize(
    ("arguments", "words"),
    (
        (("demo", "--engine", "gpt"), "'gpt' is not one of 'vllm', 'transformers'"),
        (("up", "--first-port", "80"), "greater than or equal to 1024"),
        (("serve", "gateway"), "'gateway' is none of ledger, datanet, factory, openlora, attribution"),
    ),
)
def test_a_wrong_argument_is_refused_at_once_with_what_would_be_right(arguments, words):
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert words in result.output


def test_every_port_that_is_used_is_looked_at(tmp_path):
    installation = Installation(tmp_path, 9000)
    installation.make()
    used = sorted(port for wave in installation.waves() for process in wave for port in process.ports)
    assert used == sorted(ports(9000)) == [*range(9000, 9006), *range(9051, 9056)]


def test_the_doctor_speaks_json_and_names_every_port_that_is_taken(monkeypatch):
    monkeypatch.setattr(doctor, "is_free", lambda port: port not in (7400, 7455))
    result = CliRunner().invoke(app, ["doctor", "--json"])
    found = {check["what"]: check for check in json.loads(result.output)}
    assert found["ports 7400 and on"]["found"] == "taken: 7400, 7455"
    assert found["ports 7400 and on"]["ok"] is False
    assert found["python"]["ok"] is True
    tools = {"C compiler", "node, npm", "forge (contract tests)", "anvil (contract tests)"}
    assert tools <= found.keys()
    assert any(what.startswith("Ray") for what in found)
    assert not {what for what in found if "podman" in what or "chromium" in what}  # no test needs them


def test_the_doctor_says_how_to_have_what_a_machine_lacks(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "_ROOT", tmp_path)
    lacking = {check.what: check.advice for check in doctor.examine() if not check.ok and not check.needed}
    assert "apt-get install gcc" in lacking["C compiler"]
    assert "make setup-dev" in lacking["node, npm"]
    assert "make test" in lacking["forge (contract tests)"]


def commands(group: Any, *name: str) -> Iterator[tuple[str, Any]]:
    """Every command that can be run, by its whole name."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *name, word)
        else:
            yield " ".join((*name, word)), command


def test_every_command_speaks_json():
    found = dict(commands(get_command(app)))
    assert {"demo", "deploy", "verify receipt", "finetune export", "unlearn replace"} <= found.keys()
    assert [name for name, one in found.items() if not any("--json" in option.opts for option in one.params)] == []


def test_contracts_are_deployed_by_the_ledgers_own_module(monkeypatch):
    run = []
    monkeypatch.setattr(os, "execv", lambda program, command: run.append(command))
    words = ("--rpc", "http://h:1", "--chain-id", "10", "--key", "k.json", "--out", "c.json", "--guardian", "0x1")
    assert CliRunner().invoke(app, ("deploy", "--json", *words)).exit_code == 0
    assert CliRunner().invoke(app, ("deploy", *words[:4], "--json", *words[4:])).exit_code == 0
    assert CliRunner().invoke(app, ("deploy", "--help")).exit_code == 0
    module = (sys.executable, "-m", "services.ledger.deploy_command")
    assert run == [(*module, *words), (*module, *words), (*module, "--help")]


@pytest.mark.parametrize("arguments", (("serve", "ledger"), ("serve", "ledger", "--json")))
def test_a_service_is_served_by_its_own_module(monkeypatch, arguments):
    run = []
    monkeypatch.setattr(os, "execv", lambda program, command: run.append(command))
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert run == [(sys.executable, "-m", "services.ledger")]


@pytest.mark.parametrize("arguments", (("migrate", "ledger"), ("migrate", "ledger", "--json")))
def test_a_database_is_brought_up_to_date_by_the_kits_own_module(monkeypatch, arguments):
    run = []
    monkeypatch.setattr(os, "execv", lambda program, command: run.append(command))
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert run == [(sys.executable, "-m", "services.kit.migrate", "ledger")]
