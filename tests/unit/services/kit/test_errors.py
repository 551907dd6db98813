"""What a caller hears of an exception that nobody turned into a fault."""

from __future__ import annotations

import errno
import sqlite3
import time
from contextlib import closing

import pytest
from sqlalchemy.exc import DBAPIError, OperationalError

from services.kit.database import Database, bound_pause
from services.kit.errors import from_exception
from tests import postgres


def of_sqlite(code: int) -> OperationalError:
    error = sqlite3.OperationalError("disk")
    error.sqlite_errorcode = code
    return OperationalError("INSERT", {}, error)


@pytest.mark.parametrize(
    ("error", "reason"),
    (
        (OSError(errno.ENOSPC, "No space left on device"), "DISK_FULL"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "DISK_FULL"),
        (of_sqlite(sqlite3.SQLITE_FULL), "DISK_FULL"),
        (of_sqlite(sqlite3.SQLITE_IOERR), "DATABASE_UNAVAILABLE"),
        (OSError(errno.EIO, "Input/output error"), "INTERNAL"),
        (TimeoutError(), "TOO_SLOW"),
        (ZeroDivisionError(), "INTERNAL"),
    ),
)
def test_a_full_disk_is_told_apart(error, reason):
    assert from_exception(error).reason == reason


@pytest.mark.needs("postgresql")
def test_a_transaction_in_which_its_process_was_paused_for_too_long_can_be_tried_again(postgres_cluster):
    """PostgreSQL ends its session then, which is no failure of the statement that comes next."""
    with postgres.fresh_database(postgres_cluster) as url, closing(Database(url)) as database:

        def paused(connection):
            bound_pause(connection, 0.05)
            time.sleep(0.5)
            connection.exec_driver_sql("SELECT 1")

        with pytest.raises(DBAPIError) as error:
            database.write_now(paused)
        assert from_exception(error.value).reason == "DATABASE_UNAVAILABLE"
        assert database.write_now(lambda c: c.exec_driver_sql("SELECT 1").scalar()) == 1
