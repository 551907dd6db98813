"""What is seen of processes from outside, and their end."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from bench.serve import processes


async def child(script: str) -> asyncio.subprocess.Process:
    """A process that has begun."""
    found = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"{script}\nprint(flush=True)\nimport time; time.sleep(60)",
        stdout=asyncio.subprocess.PIPE,
    )
    await found.stdout.readline()
    return found


def test_files_threads_and_memory_are_counted():
    before = processes.measured(os.getpid())
    with Path(os.devnull).open(), Path(os.devnull).open():
        after = processes.measured(os.getpid())
    assert after["files"] == before["files"] + 2
    assert before["threads"] >= 1
    assert before["service_mb"] > 10


async def test_the_engine_is_the_largest_child_that_is_no_helper():
    helper = await child("resource_tracker = bytearray(80 * 2**20)")
    engine = await child("kept = bytearray(40 * 2**20)")
    small = await child("")
    try:
        assert processes.engine_of(os.getpid()) == engine.pid
        assert processes.engine_of(small.pid) == 0
        assert processes.measured(os.getpid())["engine_mb"] > 100
    finally:
        for each in (helper, engine, small):
            await processes.ended(each)
    assert small.returncode not in (None, 0)


async def test_who_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(processes, "END_SECONDS", 0.3)
    deaf = await child("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    await processes.ended(deaf)
    assert deaf.returncode == -9
