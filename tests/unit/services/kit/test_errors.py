"""What a caller hears of an exception that nobody turned into a fault."""

from __future__ import annotations

import errno
import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from services.kit.errors import from_exception


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
