"""The sums that show that nothing is missing, over every posting there is, for everybody who asks.

Adding takes long where there are many postings, and anybody may ask: so an answer is good for some seconds, and who
asks while it is made waits for the same one.  What this does not know: what the chain holds (`reconcile`).
"""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import Connection

from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database
from services.ledger import journal
from services.ledger.store import books, payers


class Sums:
    """`seconds`: how old an answer may be."""

    def __init__(self, database: Database, *, seconds: float) -> None:
        self._database, self._seconds = database, seconds
        self._adding: asyncio.Task[ledger_pb2.Conservation] | None = None
        self._begun = float("-inf")

    async def now(self) -> ledger_pb2.Conservation:
        """The sums, not older than that."""
        adding, now = self._adding, time.monotonic()
        over = adding is None or (adding.done() and now - self._begun >= self._seconds)
        if adding is None or over or _failed(adding):
            self._begun = now
            adding = self._adding = asyncio.create_task(self._add())
        return await asyncio.shield(adding)

    async def _add(self) -> ledger_pb2.Conservation:
        return await self._database.read(lambda c: _sums(c, time.time()))


def _failed(task: asyncio.Task[ledger_pb2.Conservation]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _sums(connection: Connection, now: float) -> ledger_pb2.Conservation:
    sums = journal.conservation(books.every_posting(connection))
    owed = payers.owed(connection, now)
    return ledger_pb2.Conservation(
        fees=str(sums.fees),
        paid=str(sums.paid),
        held=str(sums.held),
        pooled=str(sums.pooled),
        difference=str(sums.difference),
        trial_balance=str(sums.trial_balance),
        unredeemed=str(owed.unredeemed),
        lapsed=str(owed.lapsed),
        shortfall=str(-books.book(connection, journal.SHORTFALL).balance),
    )
