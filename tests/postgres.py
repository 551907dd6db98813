"""A throw-away PostgreSQL cluster for the tests, from the server that the machine has (Debian's `postgresql`)."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

_SETTINGS = ("listen_addresses=", "max_connections=200")


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl, the newest version there is."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@contextmanager
def cluster(*, shared_buffers: str = "64MB") -> Iterator[str]:
    """A running server, reached by a socket in its own folder; gives the SQLAlchemy URL of its `postgres` database."""
    folder = Path(tempfile.mkdtemp(prefix="olpg-"))  # short: a socket's path must fit 107 bytes
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")  # the server refuses to run as root
    bin_ = binaries()
    assert bin_ is not None
    data = folder / "data"
    options = " ".join(
        f"-c {setting}"
        for setting in (*_SETTINGS, f"shared_buffers={shared_buffers}", f"unix_socket_directories={folder}")
    )
    try:
        _run(user, bin_ / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync")
        _run(user, bin_ / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log", "start")
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        if (data / "postmaster.pid").exists():
            _run(user, bin_ / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(cluster_url: str) -> Iterator[str]:
    """An empty database of the cluster; gives its URL."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(cluster_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # a name of our own making
    try:
        yield cluster_url.replace("/postgres?", f"/{name}?")
    finally:
        with psycopg.connect(cluster_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _run(user: str, *command: object) -> None:
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        words = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", *words]
    done = subprocess.run(words, cwd="/", check=False, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{words[0]} {words[-1]}: {done.stdout[-500:]}{done.stderr[-500:]}")
