"""Processes from outside: memory, files, threads, the engine among a service's children, and their end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from bench.demo import family, pss

END_SECONDS = 60.0


def engine_of(service: int) -> int:
    """The pid of the engine's process, which a service of vLLM has; 0 where there is none now."""
    children = [pid for pid in family(service) if pid != service and "resource_tracker" not in _command(pid)]
    return max(children, key=pss, default=0)


def measured(service: int) -> dict[str, float]:
    """Of a service and everything that it started: memory (proportional set size), open files, threads."""
    pids = family(service)
    return {
        "service_mb": round(pss(service) / 2**20, 1),
        "engine_mb": round(sum(pss(pid) for pid in pids if pid != service) / 2**20, 1),
        "files": sum(_count(pid, "fd") for pid in pids),
        "threads": sum(_count(pid, "task") for pid in pids),
    }


async def ended(child: asyncio.subprocess.Process) -> None:
    """Have a process end in good order; kill it where it does not."""
    with suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), END_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()


def _count(pid: int, what: str) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/{what}").iterdir())
    except OSError:
        return 0


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
