"""How long ago the chain was read to its end, by the database: the same at every ledger on it, whichever reads."""

from __future__ import annotations

import asyncio
import math
import time

from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger.store import chain as store

LOOK_SECONDS = 5.0


class ChainAge:
    """Measures, and nothing else.  Run `run` for ever, with the pen or without.

    `contract`: under which what was followed of the chain is stored.  `lag`: around a change of a split, in seconds.
    """

    def __init__(self, database: Database, contract: str, metrics: Metrics, *, lag: int) -> None:
        self._database, self._contract = database, contract
        self._read: int | None = None
        ago = metrics.gauge("chain_read_ago_seconds", "How long ago the chain was read to its end; +Inf: it was not")
        ago.set_function(self.seconds)
        metrics.gauge("chain_read_within_seconds", "Within which it must be, or receipts and bundles wait").set(lag / 2)

    def seconds(self) -> float:
        """By this clock, as of the last look; also where this clock is behind by so much."""
        return math.inf if self._read is None else abs(time.time() - self._read)

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self.step()
            await asyncio.sleep(LOOK_SECONDS)

    async def step(self) -> None:
        """Look once."""
        self._read = await self._database.read(lambda c: store.read_time(c, self._contract))
