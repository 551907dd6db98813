"""Copies of a service's database and folders, made and put back as docs/operating.md tells an operator to."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from tests import postgres


class Copies:
    """Of a database by its URL, and of folders and files that are to be there as they were."""

    def __init__(self, place: Path, url: str, *also: Path) -> None:
        self._place, self._url, self._also = place, make_url(url), also

    def make(self) -> None:
        """The database first: a share, or an artifact, that it names was there before it."""
        self._place.mkdir(parents=True)
        if self._url.get_backend_name() == "sqlite":
            with closing(sqlite3.connect(str(self._url.database))) as source:
                source.execute("VACUUM INTO ?", (str(self._place / "database"),))
        else:
            _postgres("pg_dump", "-Fc", "-f", str(self._place / "database"), _libpq(self._url))
        for number, path in enumerate(self._also):
            _copy(path, self._place / str(number))

    def put_back(self) -> None:
        """While nobody has the database open.  What was there meanwhile is gone."""
        if self._url.get_backend_name() == "sqlite":
            for end in ("", "-wal", "-shm"):
                Path(f"{self._url.database}{end}").unlink(missing_ok=True)
            shutil.copyfile(self._place / "database", str(self._url.database))
        else:
            self._empty()
            _postgres("pg_restore", "--exit-on-error", "-d", _libpq(self._url), str(self._place / "database"))
        for number, path in enumerate(self._also):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            _copy(self._place / str(number), path)

    def _empty(self) -> None:
        anew = f'DROP DATABASE "{self._url.database}" WITH (FORCE)', f'CREATE DATABASE "{self._url.database}"'
        with psycopg.connect(_libpq(self._url.set(database="postgres")), autocommit=True) as connection:
            for statement in anew:
                connection.execute(statement)  # type: ignore[arg-type]  # a name of the tests' own making


def _copy(source: Path, to: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, to)
    elif source.exists():
        shutil.copy2(source, to)


def _libpq(url: object) -> str:
    return str(url)


def _postgres(program: str, *words: str) -> None:
    folder = postgres.binaries()
    assert folder is not None
    done = subprocess.run([folder / program, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
