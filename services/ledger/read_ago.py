"""How long ago chain and receipts were read to their end, by the database: the same at each ledger, whoever reads."""

from __future__ import annotations

import asyncio
import math
import time

from sqlalchemy import Connection

from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger.store import chain, receipts_read

LOOK_SECONDS = 5.0


class ReadAgo:
    """Measures, and nothing else.  Run `run` for ever, with the pen or without.

    `contract`: under which what was followed of the chain is stored.  `lag`: around a change of a split, in seconds.
    """

    def __init__(self, database: Database, contract: str, metrics: Metrics, *, lag: int) -> None:
        self._database, self._contract = database, contract
        self._chain: float | None = None
        self._receipts: float | None = None
        ago = metrics.gauge("chain_read_ago_seconds", "How long ago the chain was read to its end; +Inf: it was not")
        ago.set_function(lambda: _ago(self._chain))
        metrics.gauge("chain_read_within_seconds", "Within which it must be, or receipts and bundles wait").set(lag / 2)
        ago = metrics.gauge("receipts_read_ago_seconds", "Of how long ago all receipts were read; 0: none are to be")
        ago.set_function(lambda: _ago(self._receipts))

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self.step()
            await asyncio.sleep(LOOK_SECONDS)

    async def step(self) -> None:
        """Look once."""
        self._chain, self._receipts = await self._database.read(self._look)

    def _look(self, connection: Connection) -> tuple[int | None, float]:
        return chain.read_time(connection, self._contract), receipts_read.time(connection, time.time())


def _ago(when: float | None) -> float:
    """By this clock, as of the last look; also where this clock is behind by so much."""
    return math.inf if when is None else abs(time.time() - when)
