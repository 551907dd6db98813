"""Key-value storage for py-evm in one SQLite file, written a whole mutation at a time.

Writes stay in memory until `commit`, which puts them into one transaction with synchronous=FULL: after a `kill -9` or
a power cut the file holds the chain as of some acknowledged block, never part of one.
What it does not know: what the keys mean.
"""

import sqlite3
from collections import OrderedDict
from pathlib import Path

from eth.db.backends.base import BaseDB

CACHED_VALUES = 100_000  # trie nodes and headers, some hundred bytes each


class Unusable(Exception):
    """The file cannot serve as this chain's storage; the message says why."""


class SqliteStorage(BaseDB):
    """A py-evm database over a SQLite file, held exclusively. Raises Unusable if another process has it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One thread at a time uses it: the server's lock sees to that, so SQLite need not check.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        self._pending: dict[bytes, bytes | None] = {}
        self._pending_settings: dict[str, str] = {}
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()
        try:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS node (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
            )
            self._connection.execute("CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        except sqlite3.OperationalError as error:
            raise Unusable(f"{path}: {error} (does another process use this chain?)") from error
        except sqlite3.DatabaseError as error:
            raise Unusable(f"{path} is not a chain's file: {error}") from error

    def __getitem__(self, key: bytes) -> bytes:
        if key in self._pending:
            value = self._pending[key]
            if value is None:
                raise KeyError(key)
            return value
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        row = self._connection.execute("SELECT value FROM node WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        self._remember(key, row[0])
        return bytes(row[0])

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._pending[key] = value

    def __delitem__(self, key: bytes) -> None:
        self[key]
        self._pending[key] = None

    def _exists(self, key: bytes) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def setting(self, name: str) -> str | None:
        """A stored setting, or None."""
        if name in self._pending_settings:
            return self._pending_settings[name]
        row = self._connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_setting(self, name: str, value: str) -> None:
        """Sets a setting; written by the next `commit`."""
        self._pending_settings[name] = value

    def commit(self) -> None:
        """Makes all writes since the last commit durable, together."""
        written = [(key, value) for key, value in self._pending.items() if value is not None]
        deleted = [(key,) for key, value in self._pending.items() if value is None]
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("INSERT OR REPLACE INTO node VALUES (?, ?)", written)
            self._connection.executemany("DELETE FROM node WHERE key = ?", deleted)
            self._connection.executemany(
                "INSERT OR REPLACE INTO setting VALUES (?, ?)", list(self._pending_settings.items())
            )
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        for key, value in written:
            self._remember(key, value)
        for (key,) in deleted:
            self._cache.pop(key, None)
        self._pending.clear()
        self._pending_settings.clear()

    def rollback(self) -> None:
        """Forgets all writes since the last commit."""
        self._pending.clear()
        self._pending_settings.clear()

    def close(self) -> None:
        """Closes the file; what was not committed is gone."""
        self._connection.close()

    def _remember(self, key: bytes, value: bytes) -> None:
        self._cache[key] = value
        self._cache.move_to_end(key)
        if len(self._cache) > CACHED_VALUES:
            self._cache.popitem(last=False)
