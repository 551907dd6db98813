"""The sums that show that nothing is missing, over every posting there is, for everybody who asks.

Anybody may ask: so only the postings are added that came since the last look or the last answer, an answer is good for
some seconds, and who asks while it is made waits for the same one.  What this does not know: what the chain holds
(`reconcile`).
"""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import Connection

from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database, one_moment
from services.kit.errors import unavailable
from services.ledger import control, journal
from services.ledger.checks import Checks
from services.ledger.control import ControlTotals
from services.ledger.store import books, payers
from services.ledger.store import control as store


class Sums:
    """`seconds`: how old an answer may be; `wait`: seconds that the first look at the books is waited for."""

    def __init__(self, database: Database, checks: Checks, *, seconds: float, wait: float = 5.0) -> None:
        self._database, self._checks, self._seconds, self._wait = database, checks, seconds, wait
        self._based = self._totals = checks.totals
        self._adding: asyncio.Task[ledger_pb2.Conservation] | None = None
        self._begun = float("-inf")

    async def now(self) -> ledger_pb2.Conservation:
        """The sums, not older than that.  Raises `Fault` where nothing was added before, and there is much to add."""
        adding, now = self._adding, time.monotonic()
        over = adding is None or (adding.done() and now - self._begun >= self._seconds)
        if adding is None or over or _failed(adding):
            self._begun = now
            adding = self._adding = asyncio.create_task(self._add())
        return await asyncio.shield(adding)

    async def _add(self) -> ledger_pb2.Conservation:
        try:
            await asyncio.wait_for(self._checks.looked.wait(), self._wait)
        except TimeoutError:
            raise unavailable("BOOKS_UNREAD", "the books are still being added up: ask again later", 60) from None
        totals = self._checks.totals
        if totals is not self._based and totals.journals >= self._totals.journals:
            self._based = self._totals = totals  # a look at everything may have found other sums
        self._totals, found = await self._database.read(lambda c: _sums(c, self._totals, time.time()))
        return found


def _failed(task: asyncio.Task[ledger_pb2.Conservation]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _sums(connection: Connection, totals: ControlTotals, now: float) -> tuple[ControlTotals, ledger_pb2.Conservation]:
    """The totals with what is new, and what is told of them."""
    one_moment(connection)
    last = store.last(connection)
    totals, _ = control.add(totals, store.lines(connection, totals.journals), last)
    owed, sums = payers.owed(connection, now), totals.money
    return totals, ledger_pb2.Conservation(
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
