"""Traces that are old, and that Attribution has for good, leave the log; their accounts stay.

Never before a lease that may yet be given back was charged by them: its use is summed from the log.  A trace that is
not acknowledged stays however old it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from sqlalchemy import Connection

from openledger.trace_proto import time_text
from services.kit import logs
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.openlora import sealing, store, store_traces
from services.openlora.sealing import Head
from services.openlora.tracelog import TraceLog

PAUSE_SECONDS = 600.0
PIECE = 500
"""Traces removed in one transaction: no answer waits long for it."""

Account = tuple[int, str, Head]
"""A trace's offset, its key, and its account."""


def going(accounts: Iterable[Account], through: int, before: str) -> list[Account]:
    """Of the first traces in a log those that can go: none after `through`, and all ended before that time."""
    return list(takewhile(lambda account: account[0] <= through and account[2].time < before, accounts))


class Retention:
    """Lets traces go, for ever, `days` after their answers ended."""

    def __init__(
        self,
        database: Database,
        log: DurableLog,
        traces: TraceLog,
        *,
        days: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._log, self._traces, self._days, self._clock = database, log, traces, days, clock

    async def step(self) -> int:
        """Let go what can go, oldest first; returns how many traces that were."""
        moment = datetime.fromtimestamp(self._clock(), UTC) - timedelta(days=self._days)
        through, gone = await self._through(), 0
        while piece := await self._piece(through, time_text(moment)):
            accounts = [(key, head) for _, key, head in piece]
            await self._log.compact(piece[-1][0], lambda c, a=accounts: store_traces.keep_accounts(c, a))  # type: ignore[misc]
            gone += len(piece)
        await self._traces.destroy_unused()
        if gone:
            logs.logger("openlora").info("old traces are not kept any more", count=gone)
        return gone

    async def _piece(self, through: int, before: str) -> list[Account]:
        first = await self._log.first()
        if first > through:
            return []
        entries = (await self._log.read(first - 1, PIECE)).entries
        accounts = ((entry.offset, entry.key, sealing.head_of(entry.payload)) for entry in entries)
        return await asyncio.to_thread(going, accounts, through, before)

    async def _through(self) -> int:
        return min([self._traces.acknowledged, *await self._database.read(_before_leases)])


def _before_leases(connection: Connection) -> list[int]:
    """Offsets after which come all traces that are charged to leases which were not given back."""
    held = [lease.log_offset for lease in store.held(connection)]
    return held + [lease.log_offset for lease in store.asked(connection)]
