"""Gives up what a process that reads strangers' bytes has no use for: for the process that calls it, for good.

Each bound is asked of the kernel for itself, and what an older kernel or a container refuses is left out of the answer:
whoever relies on one looks whether it holds.  Knows nothing of what the process does.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

FILES, NETWORK = "files", "network"
"""No file can be written, and none be read but the program's own; no network but an empty one of its own."""

_OPEN_FILES = 64
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_PARENT_DEATH_SIGNAL, _DUMPABLE, _NO_NEW_PRIVILEGES = 1, 4, 38
# Landlock (linux/landlock.h): the numbers of its calls, on every machine; how many rights to files each version knows.
_CREATE, _ADD, _RESTRICT, _VERSION_FLAG, _BENEATH = 444, 445, 446, 1, 1
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_TCP, _SIGNALS_AND_SOCKETS = 0b11, 0b11

_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """End when the thread that started this process does.  Raises `SystemExit` when the process `parent` is gone."""
    with suppress(OSError, AttributeError):  # elsewhere than on Linux it runs to its end, harmlessly
        _call("prctl", _PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)  # it died before we asked


def leave_network() -> list[str]:
    """Go where there is no network, not even this machine's own.  To be called before there are threads."""
    for flags in (_NEW_NET, _NEW_USER | _NEW_NET):
        with suppress(OSError):
            _call("unshare", flags)
            return [NETWORK]
    return []


def limit(memory: int) -> None:
    """Bound what the process can take.  memory: bytes of address space.

    No file grows by what it writes, no process and no thread is started (root's are not counted by the kernel), no core
    is dumped, for it would hold what strangers sent.
    """
    bounds = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for what, most in bounds.items():
        resource.setrlimit(what, (most, most))
    _call("prctl", _DUMPABLE, 0)
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def see_only(folders: Iterable[Path]) -> list[str]:
    """Read what is in these folders, and nothing else; write, run and connect to nothing; signal no other process.

    Needs `limit` before.
    """
    version = _libc.syscall(_CREATE, None, 0, _VERSION_FLAG)
    if version < 1:
        return []
    rights = (1 << _FILE_RIGHTS[min(version, 5)]) - 1
    asked = [rights, *([_TCP] if version >= 4 else []), *([_SIGNALS_AND_SOCKETS] if version >= 6 else [])]
    attributes = struct.pack(f"={len(asked)}Q", *asked)
    with suppress(OSError):
        rules = _call("syscall", _CREATE, attributes, len(attributes), 0)
        for folder in folders:
            _allow(rules, folder)
        _call("syscall", _RESTRICT, rules, 0)
        os.close(rules)
        return [FILES]
    return []


def of_the_program() -> list[Path]:
    """Folders that a Python goes on reading while it runs: modules are imported late, libraries loaded late."""
    packages = (Path(__file__).parents[2] / name for name in ("openledger", "services"))
    libraries = [Path(path) for path in sys.path if Path(path).name in {"site-packages", "lib-dynload"}]
    standard = Path(os.__file__).parent
    system = (Path(path) for path in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo"))
    return [path for path in (*packages, *libraries, standard, *system) if path.is_dir()]


def _allow(rules: int, folder: Path) -> None:
    handle = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        _call("syscall", _ADD, rules, _BENEATH, struct.pack("=Qi", _READ_FILE | _READ_FOLDER, handle), 0)
    finally:
        os.close(handle)


def _call(function: str, *arguments: int | bytes) -> int:
    result: int = getattr(_libc, function)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
