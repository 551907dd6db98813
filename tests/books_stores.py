"""Empty ledger databases, again and again, for stories about money."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

import services.ledger
from services.kit.database import Database
from services.ledger import control, journal
from services.ledger.control import ControlTotals
from services.ledger.journal import Conservation
from services.ledger.store import control as store
from services.ledger.store.tables import METADATA
from tests.books_world import every_posting


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
    """The same on PostgreSQL, whose superuser may leave the triggers out while it empties the tables.

    What is committed need not be on disk: no machine fails here, and waiting for disks is most of a story's time.
    """

    def __init__(self, url: str) -> None:
        database = Database(url)
        database.migrate(Path(services.ledger.__file__).parent / "migrations")
        self.engine = database._writer
        event.listen(self.engine, "begin", lambda c: c.exec_driver_sql("SET LOCAL synchronous_commit = off"))

    def clear(self) -> Engine:
        with self.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            for table in METADATA.tables.values():
                connection.execute(table.delete())  # of a few rows: TRUNCATE makes new files
        return self.engine


def conserved(connection: Connection) -> Conservation:
    """The sums of every posting.  Control totals are the same, and are what the books hold, and no unit more."""
    last, totals = store.last(connection), ControlTotals.of_nothing()
    for up_to in (last // 2, last):
        totals, odd = control.add(totals, store.lines(connection, totals.journals, up_to), up_to)
        assert odd == []
    held = list(store.books(connection))
    assert totals.agree(held)
    sums = journal.conservation(every_posting(connection))
    assert totals.money == sums
    for number, (name, into, out) in enumerate(held):
        assert not totals.agree([*held[:number], (name, into, out + 1), *held[number + 1 :]])
    return sums
