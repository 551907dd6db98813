"""What the traces on disk have charged to each lease: the truth about a lease's use, for this life and former ones.

Follows the trace log and reads each entry once, as far back as the oldest lease that was not given back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from services.kit.durable_log import DurableLog, Entry

_PAGE = 500


class Charges:
    """Sums of fees by lease, for the leases that it was told of."""

    def __init__(self, log: DurableLog) -> None:
        self._log, self._sums, self._after, self._place = log, dict[str, int](), dict[str, int](), 0
        self._reading = asyncio.Lock()

    def resume(self, leases: Mapping[str, int]) -> None:
        """Count for leases of former lives, each with an offset that all of its traces come after.  Call it first."""
        self._sums, self._after = dict.fromkeys(leases, 0), dict(leases)

    def track(self, lease: str, after: int) -> None:
        """Count for a new lease, which nothing was charged to yet; `after` is an offset that the log has reached."""
        self._sums[lease], self._after[lease] = 0, after

    async def used(self, lease: str) -> int:
        """The sum of fees, in atomic units, of every trace on disk that names the lease."""
        async with self._reading:
            # Nobody needs what lies before, and it may be gone from the log.
            self._place = max(self._place, min(self._after.values(), default=0))
            while (batch := await self._log.read(self._place, _PAGE)).entries:
                await asyncio.to_thread(self._count, batch.entries)
                self._place = batch.entries[-1].offset
        return self._sums[lease]

    def forget(self, lease: str) -> None:
        """The lease was given back."""
        self._sums.pop(lease, None)
        self._after.pop(lease, None)

    def _count(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            trace = json.loads(entry.payload)
            if trace["lease"] in self._sums:
                self._sums[trace["lease"]] += int(trace["fee"])
