"""Counts measurements that were begun and did not end, so that one which this machine cannot bear is given up.

The count is in the database before the measuring begins: a kernel that kills the process for its memory leaves it
behind.  An end of any other kind, a failure too, takes it away again.  Not known here: whether it was the measurement
that ended the process, or somebody who killed it three times in its midst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from services.attribution import store_tries
from services.kit.database import Database

R = TypeVar("R")
MOST = 3


class GivenUp(Exception):
    """It was begun so often, and never ended."""


class Tries:
    """For any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def counted(self, key: str, work: Callable[[], R]) -> R:
        """What work returns or raises.  Raises `GivenUp` in place of beginning once more than `MOST` times."""
        if self._database.read_now(lambda c: store_tries.begun(c, key)) >= MOST:
            raise GivenUp(f"measuring it ran out of memory here, or ended with the whole process, {MOST} times")
        self._database.write_now(lambda c: store_tries.begin(c, key))
        try:
            done = work()
        except MemoryError:
            raise  # no end: what does not fit now may fit next time, but not for ever
        except BaseException:
            self._end(key)
            raise
        self._end(key)
        return done

    def _end(self, key: str) -> None:
        self._database.write_now(lambda c: store_tries.end(c, key))
