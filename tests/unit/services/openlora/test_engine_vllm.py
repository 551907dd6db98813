"""vLLM's process and ours: when one is killed, the other notices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests import tiny_model
from tests.needs import needs

pytestmark = [needs("vllm"), pytest.mark.long, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[4]
# Opens an engine, says which process computes, and answers one request a line until it cannot.
SCRIPT = """
import asyncio, json, multiprocessing, sys
from pathlib import Path
from services.openlora.engine import EngineDead, EngineRequest, EngineSettings, Sampling, open_engine

async def main():
    settings = EngineSettings(context=200, max_running=4, max_active_adapters=1, max_adapters=1, cache_bytes=2**23)
    engine = await open_engine("vllm", Path(sys.argv[1]), settings)
    print(json.dumps({"child": multiprocessing.active_children()[0].pid}), flush=True)
    for number in range(10**6):
        request = EngineRequest(f"r{number}", (5, 6, 7), Sampling(100))
        try:
            async for _ in engine.generate(request):
                pass
        except EngineDead as error:
            try:
                await engine.health()
            except EngineDead:
                print(json.dumps({"dead": str(error)}), flush=True)
            await engine.close()
            return

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def started(tmp_path):
    base = tiny_model.make(tmp_path / "base")
    script = tmp_path / "serve.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, script, base], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.kill()


@pytest.fixture
def serving(started):
    child = psutil.Process(json.loads(started.stdout.readline())["child"])
    return started, child


def command(process: psutil.Process) -> str:
    """Nothing of one that has just ended, as the small programs do that vLLM asks about the machine."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def gone(children: list[psutil.Process], seconds: float) -> bool:
    """Whether they end within that time."""
    alive = psutil.wait_procs(children, timeout=seconds)[1]
    return all(child.status() == psutil.STATUS_ZOMBIE for child in alive)


def test_when_vllm_is_killed_requests_end_and_the_engine_is_dead(serving):
    process, child = serving
    child.send_signal(signal.SIGKILL)
    assert "died" in json.loads(process.stdout.readline())["dead"]
    assert process.wait(30) == 0


def test_when_we_are_killed_vllm_does_not_stay_behind(serving):
    process, child = serving
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert gone([child], 10)


@pytest.mark.parametrize("after", (0.5, 3))
def test_nor_when_we_are_killed_while_it_starts(started, after):
    """Its process would wait for ours for minutes."""
    ours = psutil.Process(started.pid)
    while not (children := [child for child in ours.children() if "multiprocessing.spawn" in command(child)]):
        time.sleep(0.02)
    time.sleep(after)
    started.send_signal(signal.SIGKILL)
    started.wait(10)
    assert gone(children, 20)
