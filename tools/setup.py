"""Sets up the project in its own folder: .venv with the exact versions of requirements/*.lock, downloads in .cache.

`python3 -m tools.setup` installs what `make demo` needs, with `--dev` also what `make test` adds, with `--bench` what
`make bench` adds to that. Does nothing when nothing changed, goes on where it was interrupted, and needs only Python's
standard library. What it does not know: how to install Debian packages; where one is missing it says which.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools import helm
from tools.run_pip import CACHE, LOG, PYTHON, ROOT, NotOffered, Progress, SetupError, Unreachable, pip, say

VENV = ROOT / ".venv"
STAMPS = VENV / "openledger"
LOCKS = ROOT / "requirements"
OLDEST_NODE = 20  # for contracts/build.py
COMPILER = os.environ.get("CC", "cc")
# The venv, and beside it the converted base model (MiB). Measured: 2780 and 540; Ray 330.
DISK_MIB = {"runtime": 3500, "dev": 400, "node": 300, "ray": 400, "bench": 500}
TORCH_INDEX = os.environ.get("OPENLEDGER_TORCH_INDEX", "")  # an index of torch's CPU builds, where pip's own has none
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"  # torch's own, where no other is named: PyPI has none for Linux


def check_python() -> None:
    """Refuse a Python that is too old.

    Raises:
        SetupError: it is.
    """
    if sys.version_info < (3, 11):  # noqa: UP036  # this script is what finds out
        found = f"{sys.version.split()[0]} ({sys.executable})"
        raise SetupError(f"Python 3.11 or newer is needed, this is {found}. Name another: make setup PYTHON=python3.12")


def check_machine(groups: list[str]) -> None:
    """Find what would fail later, and say what to do about it.

    Raises:
        SetupError: no venv module, no C compiler where one is needed, or too little disk space.
    """
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        raise SetupError("Python's venv module is missing: apt-get install python3-venv") from error
    if "runtime" in groups and not (has_numa() or shutil.which(COMPILER)):
        raise SetupError(f"a C compiler is missing ({COMPILER}): apt-get install gcc libc6-dev")
    free = shutil.disk_usage(ROOT).free // 2**20
    wanted = sum(DISK_MIB[group] for group in groups)
    if free < wanted:
        raise SetupError(f"{wanted} MiB of disk space are needed under {ROOT}, {free} MiB are free")


def fingerprint(group: str) -> str:
    """What an installed group depends on: its lock, this Python, the project's place and metadata, and this script."""
    import tomllib  # since Python 3.11; check_python() has spoken on an older one

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parts = [(LOCKS / f"{group}.lock").read_text(), sys.version, str(ROOT), repr(project), Path(__file__).read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def stamp(group: str) -> Path:
    return STAMPS / f"{group}.stamp"


def is_current(group: str) -> bool:
    return PYTHON.exists() and stamp(group).exists() and stamp(group).read_text() == fingerprint(group)


def make_venv() -> None:
    """Make .venv, or make it anew when it belongs to another Python or place."""
    owner = VENV / "openledger" / "python"
    mine = f"{sys.version}\n{ROOT}\n{os.path.realpath(sys.executable)}"
    if PYTHON.exists() and owner.exists() and owner.read_text() == mine:
        return
    if VENV.exists() and not (VENV / "pyvenv.cfg").exists() and any(VENV.iterdir()):
        raise SetupError(f"{VENV} is there and is not a virtual environment: move it away and run this again")
    say("· virtual environment .venv")
    result = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False
    )
    if result.returncode:
        said = f"{result.stdout}{result.stderr}"
        raise SetupError(f"{said}\nThe virtual environment could not be made; on Debian: apt-get install python3-venv")
    STAMPS.mkdir(exist_ok=True)
    owner.write_text(mine)


def install_torch(version: str) -> None:
    """Install the CPU build of torch, which is a tenth of the size of the one that PyPI has for Linux.

    Where no index offers one, the ordinary build, with the libraries that it needs.
    """
    probe = f"import torch, sys; sys.exit(torch.__version__.split('+')[0] != '{version}')"
    if subprocess.run([str(PYTHON), "-c", probe], capture_output=True, check=False).returncode == 0:
        return
    if sys.platform == "linux":
        say(f"· torch {version}, CPU build")
        if install_cpu_build(version):
            return
        say("  no CPU build in reach: taking the ordinary one (several GB with its CUDA libraries);")
        say("  to spare that, stop this and name an index of CPU builds: OPENLEDGER_TORCH_INDEX=... make setup")
    pip(f"torch=={version}")


def install_cpu_build(version: str) -> bool:
    """Whether a CPU build was to be had: from pip's own index, else from one that has nothing else.

    Raises:
        SetupError: it is offered and could not be installed, or an index that must have it could not be asked. A
            network that fails for a moment does not become a download of gigabytes.
    """
    with contextlib.suppress(NotOffered):
        pip("--no-deps", f"torch=={version}+cpu")
        return True
    quick = ("--retries", "2", "--timeout", "20")  # behind a company's mirror that index is out of reach
    try:
        pip("--no-deps", *quick, "--index-url", TORCH_INDEX or CPU_BUILDS, f"torch=={version}")
        return True
    except NotOffered:
        return False
    except Unreachable:
        if TORCH_INDEX:
            raise
        return False


def has_numa() -> bool:
    """Whether this machine has libnuma, which vLLM's kernels need to load. Only Linux's do."""
    if sys.platform != "linux":
        return True
    with contextlib.suppress(OSError):
        ctypes.CDLL("libnuma.so.1")
        return True
    return False


def make_numa() -> None:
    """Compile the stand-in for libnuma."""
    target, source = VENV / "lib" / "openledger" / "libnuma.so.1", ROOT / "services" / "openlora" / "native"
    target.parent.mkdir(exist_ok=True)
    linked = ["-shared", "-fPIC", "-O2", "-Wl,-soname,libnuma.so.1", f"-Wl,--version-script={source / 'numa.map'}"]
    command = [COMPILER, *linked, "-o", str(target), str(source / "numa.c")]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or error
        raise SetupError(f"{said}\nA C compiler is missing (apt-get install gcc libc6-dev), or libnuma1") from error


def install(group: str) -> None:
    """Install a group exactly as its lock says."""
    lock = (LOCKS / f"{group}.lock").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lock if line and not line.startswith("#")]
    torch = next((line.split("==")[1] for line in wanted if line.startswith("torch==")), None)
    if torch:
        install_torch(torch)
    say(f"· {group}: {len(wanted)} packages")
    progress = Progress(len(wanted))
    pip("--no-deps", "-r", str(LOCKS / f"{group}.lock"), progress=progress)
    if group == "runtime":
        pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        if not has_numa():
            make_numa()
    progress.close()
    stamp(group).write_text(fingerprint(group))


def has_node() -> bool:
    """Whether this machine's own node can compile the contracts."""
    if not (shutil.which("node") and shutil.which("npm")):
        return False
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", said)
    return bool(found and int(found[1]) >= OLDEST_NODE)


def groups_for(*, dev: bool, bench: bool) -> list[str]:
    if not (dev or bench):
        return ["runtime"]
    return ["runtime", "dev", "ray", *([] if has_node() else ["node"]), *(["bench"] if bench else [])]


def fetch_tools(groups: list[str]) -> None:
    """What the tests need that is no Python package: helm, for the chart's."""
    if "dev" in groups and not helm.place().exists():
        say("· helm")
        helm.fetch()


def main() -> int:
    parser = argparse.ArgumentParser(description="Sets up .venv from requirements/*.lock.")
    parser.add_argument("--dev", action="store_true", help="also what the tests need")
    parser.add_argument("--bench", action="store_true", help="also what the benchmarks compare with")
    arguments = parser.parse_args()
    groups = groups_for(dev=arguments.dev, bench=arguments.bench)
    try:
        check_python()
        if all(is_current(group) for group in groups):
            fetch_tools(groups)
            return 0
        CACHE.mkdir(parents=True, exist_ok=True)
        # Two `make` at once would write over each other; the second waits and then finds the work done.
        with (CACHE / "setup.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            todo = [group for group in groups if not is_current(group)]
            check_machine(todo)
            begun = time.monotonic()
            say(f"Setting up in {VENV} (Python {sys.version.split()[0]}); log: {LOG}")
            make_venv()
            for group in todo:
                install(group)
        fetch_tools(groups)
        say(f"Set up in {time.monotonic() - begun:.0f} s.")
    except (SetupError, OSError) as error:
        print(f"\nset-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
