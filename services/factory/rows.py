"""What every query of the Factory needs: inserts that may race, and times with their zone."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, Insert
from sqlalchemy.exc import IntegrityError


def insert_new(c: Connection, row: Insert) -> bool:
    """Insert a row unless one with its key is there, which another transaction may be adding at this very moment."""
    try:
        with c.begin_nested():
            c.execute(row)
    except IntegrityError:
        return False
    return True


def utc(value: datetime) -> datetime:
    """SQLite forgets the zone of what it was given, which is always UTC here."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def maybe_utc(value: datetime | None) -> datetime | None:
    """The same where there may be no time."""
    return None if value is None else utc(value)
