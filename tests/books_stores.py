"""Empty ledger databases, again and again, for stories about money."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool

import services.ledger
from services.kit.database import Database
from services.ledger.store.tables import METADATA


class Store:
    """An empty ledger database in memory, again and again: migrated once, so that its triggers are there."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/empty.db"
            database = Database(url)
            database.migrate(Path(services.ledger.__file__).parent / "migrations")
            database.close()
            self._empty = sqlite3.connect(":memory:", check_same_thread=False)
            sqlite3.connect(f"{folder}/empty.db").backup(self._empty)
        self._raw = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._raw.execute("PRAGMA foreign_keys = ON")
        self.engine = create_engine("sqlite://", creator=lambda: self._raw, poolclass=StaticPool)
        event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))

    def clear(self) -> Engine:
        """Nothing in it."""
        self._empty.backup(self._raw)
        return self.engine


class PostgresStore:
    """The same on PostgreSQL, whose superuser may leave the triggers out while it empties the tables."""

    def __init__(self, url: str) -> None:
        database = Database(url)
        database.migrate(Path(services.ledger.__file__).parent / "migrations")
        self.engine = database._writer

    def clear(self) -> Engine:
        names = ", ".join(f'"{name}"' for name in METADATA.tables)
        with self.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            connection.exec_driver_sql(f"TRUNCATE {names}")
        return self.engine
