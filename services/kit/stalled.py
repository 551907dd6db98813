"""Who is paused in the midst of a COPY holds its locks no longer than in the midst of any other transaction.

PostgreSQL ends a session that says nothing between two statements (`database.bound_pause`).  A COPY is one statement,
in which the server waits for its rows for ever: so others look whether any come, and end a session of which none do.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from sqlalchemy import Connection, text

from services.kit import logs
from services.kit.database import Database, pause_of

_LOOK_SECONDS = 1.0
_COPYING = text(
    """
    SELECT copying.pid, session.query_start, session.application_name, copying.bytes_processed
    FROM pg_stat_progress_copy AS copying JOIN pg_stat_activity AS session USING (pid)
    WHERE copying.command = 'COPY FROM' AND copying.type = 'PIPE'
      AND session.datname = current_database() AND session.usename = current_user
    """
)
_END = text("SELECT pg_terminate_backend(:pid)")


class _Copy(NamedTuple):
    pid: int
    begun: object
    pause: float
    """Seconds that it may say nothing, as its transaction asked for."""


class Stalled:
    """Ends sessions of this database that stand still in the midst of a COPY; nothing on SQLite, which has none.

    Run `run` for ever, in each process that waits for locks.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[_Copy, tuple[int, float]] = {}
        self._log = logs.logger("database")

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            if not self._database.is_sqlite:
                await self._database.read(self.look)
            await asyncio.sleep(_LOOK_SECONDS)

    def look(self, connection: Connection) -> int:
        """End those that brought nothing for longer than they may; says how many."""
        now, seen, ended = time.monotonic(), {}, 0
        for pid, begun, named, count in connection.execute(_COPYING):
            copy = _Copy(pid, begun, pause_of(named))
            before = self._seen.get(copy)
            seen[copy] = before if before and before[0] == count else (count, now)
        for copy, (_, since) in seen.items():
            if now - since > copy.pause:
                connection.execute(_END, {"pid": copy.pid})
                self._log.warning("a session that stood still was ended", pid=copy.pid, seconds=round(now - since))
                ended += 1
        self._seen = seen
        return ended
