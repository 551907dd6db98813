"""Receipts on their way into a ledger's books: the consumer, a log that it reads, and a clock that tests put."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from openledger.receipt import Receipt
from openledger.split import Rule
from openledger.trace_proto import time_text
from services.kit.metrics import Metrics
from services.kit.testing import as_service
from services.ledger import consume, split_book
from services.ledger.admit import Terms
from services.ledger.consume import Receipts
from services.ledger.debts import Debts
from services.ledger.split_book import SplitBook
from services.ledger.store.tables import REJECTED
from tests.epoch_world import AT, LAG, Ledger
from tests.ledger_world import PLATFORM, SIGNER, Attribution, attribution_served

REVISION = "adapters/a/revisions/" + "c" * 64
"""Of `a_receipt`."""
OWN = Rule()
GRACE, ROOM = 600, 6 * 3600
HOW: Any = {"room": 0, "block_time": lambda: 0}


class Clock:
    """The time by this machine, for those modules that tell what they know by it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr(consume, "time", self)
        monkeypatch.setattr(split_book, "time", self)

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Reading:
    """A consumer in whose log receipts are put.  `block_time`: what the chain says what time it is."""

    def __init__(self, ledger: Ledger, client: Any, attribution: Attribution) -> None:
        self.metrics, self.give, self.block_time = Metrics("ledger"), attribution.give, lambda: 0
        terms = Terms(frozenset({SIGNER.address}), OWN, PLATFORM.address)
        rest = ledger.pen(), Debts(ledger.database, self.metrics), SplitBook(ledger.database, AT, OWN, lag=LAG)
        how: Any = HOW | {"room": ROOM, "block_time": self._block_time}
        self.receipts = Receipts(ledger.database, client, terms, self.metrics, *rest, **how)
        self.looks, self._ready = 0, self.receipts._ready
        self.receipts._ready = self._look  # type: ignore[method-assign]

    def _block_time(self) -> int:
        return self.block_time()

    async def _look(self, candidates: Any) -> int:
        found = await self._ready(candidates)
        self.looks += 1
        return found

    async def step(self) -> int:
        return await self.receipts.step()

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[asyncio.Task[int]]:
        """A step that waits; within, what it waits for may come, by the end of which it must be over."""
        step, before = asyncio.create_task(self.step()), self.looks
        async with asyncio.timeout(30):
            while self.looks < before + 3:
                assert not step.done(), step.exception() or step.result()
                await asyncio.sleep(0.01)
            assert not step.done()
            yield step
            await step

    @property
    def behind(self) -> float | None:
        """What the gauge of receipts that were not read shows."""
        return self.metrics.registry.get_sample_value("openledger_ledger_receipts_behind")


@asynccontextmanager
async def reading(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, *receipts: Receipt) -> AsyncIterator[Reading]:
    """The consumer of these receipts."""
    monkeypatch.setattr(consume, "LOOK_SECONDS", 0.01)
    attribution = Attribution()
    attribution.give(*receipts)
    async with attribution_served(attribution) as where, as_service("ledger", attribution=where) as client:
        yield Reading(ledger, client, attribution)


def reasons(ledger: Ledger) -> dict[str, str]:
    """Why receipts were refused, by their digests."""
    found = ledger.database.read_now(lambda c: c.execute(select(REJECTED.c.sha256, REJECTED.c.reason)).all())
    return {row.sha256: row.reason for row in found}


def at(when: float) -> str:
    """A time as receipts write it."""
    return time_text(datetime.fromtimestamp(int(when), UTC))
