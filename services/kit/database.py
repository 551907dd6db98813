"""One way to a database: SQLite on one machine, PostgreSQL in a cluster, the same SQLAlchemy Core code on both.

Transactions are plain functions `fn(connection)`, run in threads so that the event loop never waits for a disk:
`await database.write(fn)` commits or raises, `await database.read(fn)` changes nothing, and sees one moment where `fn`
begins with `one_moment`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Numeric, Text, create_engine, event, make_url, text
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.types import TypeDecorator

T = TypeVar("T")

_POOL = 8
_PAUSE_SECONDS = 60
_NAMED = re.compile(r"may pause (\d+) ms")
_BOUND = text(
    "SELECT set_config('idle_in_transaction_session_timeout', :most, true), set_config('application_name', :name, true)"
)
_MIGRATING = 7_401_001  # the advisory lock that a migration holds; a number of ours alone in a service's own database


class Amount(TypeDecorator[int]):
    """Money as `int`, exact at any size: NUMERIC(78, 0) on PostgreSQL, decimal text on SQLite.

    SQLite would turn integers past 2**63 into floats without a word, so it never sees one, and never adds amounts as
    they are: sums are made in Python, on PostgreSQL, or of pieces that fit.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """The column type of the database at hand."""
        return dialect.type_descriptor(Numeric(78, 0) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Python to database."""
        if value is None:
            return None
        if type(value) is not int:
            raise TypeError(f"an amount is an int, not {type(value).__name__}")
        return Decimal(value) if dialect.name == "postgresql" else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """Database to Python."""
        return None if value is None else int(value)


class SchemaError(RuntimeError):
    """The database's schema is not one this code knows, or what it holds does not fit this code's schema."""


class Database:
    """A service's own database.  Close it when done.

    `erases`: what is deleted is overwritten in SQLite's file at once, and not when its place is needed.  Its
    write-ahead log holds it until `empty_log`.
    """

    def __init__(self, url: str, *, pool: int = _POOL, erases: bool = False) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
            # SQLite has one writer: one connection and one thread for it, so that writes queue here and not on locks.
            self._writer = _sqlite_engine(url, "BEGIN IMMEDIATE", 1, erases=erases)
            self._reader = _sqlite_engine(url, "BEGIN", pool, erases=erases)
        else:
            psycopg = self.url.set(drivername="postgresql+psycopg")
            self._writer = create_engine(psycopg, pool_size=pool, max_overflow=0, pool_pre_ping=True)
            event.listen(self._writer, "connect", _bound_pauses)
            self._reader = self._writer
        self._write_threads = ThreadPoolExecutor(1 if self.is_sqlite else pool, "db-write")
        self._read_threads = ThreadPoolExecutor(pool, "db-read")

    async def write(self, transaction: Callable[[Connection], T]) -> T:
        """Run a transaction that may change things; it is durable when this returns, undone when this raises."""
        loop = asyncio.get_running_loop()
        # A cancelled caller must not leave a transaction half waited for: it runs to its end either way.
        return await asyncio.shield(loop.run_in_executor(self._write_threads, self.write_now, transaction))

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run queries in one transaction that changes nothing."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._read_threads, self.read_now, query)

    def write_now(self, transaction: Callable[[Connection], T]) -> T:
        """`write` for code that is not async.

        Where a row that must be there once was written by another transaction meanwhile, this one is undone and run
        again, now sees the other's row, and finds its work done or refuses it. A second failure is the caller's.
        """
        try:
            return self._transact(transaction)
        except IntegrityError:
            return self._transact(transaction)

    def _transact(self, transaction: Callable[[Connection], T]) -> T:
        with self._writer.begin() as connection:
            return transaction(connection)

    def read_now(self, query: Callable[[Connection], T]) -> T:
        """`read` for code that is not async."""
        with self._reader.connect() as connection:
            return query(connection)

    def migrate(self, migrations: Path) -> None:
        """Bring the schema up to what this code needs.

        Raises `SchemaError` when it is newer than that, or where what it holds does not fit.
        """
        config = Config()
        config.set_main_option("script_location", str(migrations).replace("%", "%%"))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}

        def upgrade(connection: Connection) -> None:
            if not self.is_sqlite:  # SQLite has one writer anyway; replicas that start together would meet halfway
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            present = MigrationContext.configure(connection).get_current_revision()
            if present is not None and present not in known:
                raise SchemaError(
                    f"the database is at schema {present}, newer than this version of the code knows; run the version "
                    "of the code that wrote it, or a newer one"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

        self.write_now(upgrade)

    def empty_log(self) -> bool:
        """Put SQLite's write-ahead log into its file and empty it; false where a reader or writer was in the way.

        PostgreSQL keeps its log for itself: true at once.
        """
        if not self.is_sqlite:
            return True
        connection = self._writer.raw_connection()
        try:
            busy, _, _ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()
        return not busy

    def close(self) -> None:
        """Finish what is queued and let go of every connection."""
        self._write_threads.shutdown()
        self._read_threads.shutdown()
        self._writer.dispose()
        self._reader.dispose()


def one_moment(connection: Connection) -> None:
    """All queries of this transaction, of which this is the first statement, see the same; it changes nothing.

    On PostgreSQL each would see what was committed by then.  SQLite's readers always see one moment.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def bound_pause(connection: Connection, seconds: float) -> None:
    """From here on a process that is paused in the midst of this transaction holds its locks no longer than this.

    What it has in hand is undone then.  Locks are let go one after another, since a session that waited for one has it
    next: what many wait for wants a short time, and whoever computes for long in the midst of a transaction a long one.
    In the midst of a COPY the server waits without end; the session's name tells others how long it may (stalled.py).
    """
    if connection.dialect.name == "postgresql":
        milliseconds = round(1000 * seconds)
        connection.execute(_BOUND, {"most": f"{milliseconds}", "name": f"may pause {milliseconds} ms"})


def pause_of(session: str) -> float:
    """Seconds that a session of that name may say nothing in the midst of its transaction."""
    found = _NAMED.fullmatch(session)
    return int(found[1]) / 1000 if found else _PAUSE_SECONDS


def _bound_pauses(connection: Any, _: Any) -> None:
    connection.execute(f"SET idle_in_transaction_session_timeout = '{_PAUSE_SECONDS}s'")
    connection.commit()


def _sqlite_engine(url: str, begin: str, pool: int, *, erases: bool) -> Engine:
    engine = create_engine(
        url, pool_size=pool, max_overflow=0, connect_args={"check_same_thread": False, "timeout": 30}
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, see below
        pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000")
        for pragma in (*pragmas, *(("secure_delete=ON",) if erases else ())):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        # The driver would begin lazily and as a reader, and then fail to become a writer under another one's feet.
        connection.exec_driver_sql(begin)

    return engine
