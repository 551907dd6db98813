"""For tests of executors: shards of `tests/contract/executor_tasks.py`, services that run them, and what they leave."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from services.kit.executor import Shard

TASKS = "tests.contract.executor_tasks"


def task(name, /, **arguments):
    return Shard(f"{TASKS}:{name}", arguments)


def ignore(*_):
    """For tests that ask nothing of reports or progress."""


def log(tmp_path):
    file = tmp_path / "log"
    return file.read_text().splitlines() if file.exists() else []


def left(root):
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def alive(pid):
    """Whether a process runs; a zombie that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def eventually(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def hanging(executor, name="a"):
    """A run that hangs, and what its worker said of itself."""
    said = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(executor.run(task("hang", name=name), said.set_result))
    return running, await asyncio.wait_for(said, 30)


SERVICE = f"""
import asyncio, json, sys
from pathlib import Path
from services.kit.executor import Shard
from services.kit.executor_open import open_executor

def tell(said):
    print(json.dumps(said), flush=True)

executor = open_executor(sys.argv[1], Path(sys.argv[2]))
done = asyncio.run(executor.run(Shard("{TASKS}:" + sys.argv[3], json.loads(sys.argv[4])), tell))
executor.close()
tell(dict(done.result))
"""


@contextmanager
def service(where, root, shard):
    """A process of its own that runs a shard; the lines that it prints are its reports, then the result."""
    order = [where, str(root), shard.task.partition(":")[2], json.dumps(dict(shard.arguments))]
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE, *order], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, map(json.loads, process.stdout)
        finally:
            process.kill()
