"""Takes Attribution's receipts, in the order of its log, each exactly once, into the books.

Whoever is behind reads several pages before it books them at once: a transaction costs the same for many as for few.
A receipt that does not pass is kept with the reason and counted, and the stream goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import grpc
from sqlalchemy import Connection

from openledger.attribution.v1 import attribution_pb2
from openledger.client import ApiError, Client
from services.kit import logs
from services.kit.consumer import Consumer, Page
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import admit, split_book
from services.ledger.admit import Admitted, Rejected, Terms
from services.ledger.book import BOOKED, CONFLICT, OWED, REPEATED, book_all
from services.ledger.changes import Changes
from services.ledger.debts import Debts
from services.ledger.pen import Pen
from services.ledger.split_book import SplitBook
from services.ledger.store import books
from services.ledger.store import terms as published_terms
from services.ledger.store.tables import METADATA

SOURCE = "attribution/receipts"
PAGE, WAIT_SECONDS, DEADLINE = 200, 20.0, 40.0
BATCH = 2_000
"""Receipts that are booked at once, if so many wait: some tenths of a second in which the books are held."""
AWAY_SECONDS = 1.0
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Receipts:
    """The consumer of the receipts, while this process has the pen.  Run `run` for ever; `booked` tells of news.

    While the chain was not read lately, receipts wait in Attribution's log: which splits hold is not known then.  So
    does one whose answer has not ended by this clock, with those after it.
    `room`: seconds that a payer's authorisation must still hold, to be redeemed.
    """

    def __init__(
        self,
        database: Database,
        attribution: Client,
        terms: Terms,
        metrics: Metrics,
        pen: Pen,
        debts: Debts,
        splits: SplitBook,
        *,
        room: int,
    ) -> None:
        self._database, self._client, self._terms, self._room = database, attribution, terms, room
        self._pen, self._debts, self._splits = pen, debts, splits
        self._consumer: Consumer[bytes] = Consumer(
            database, METADATA, SOURCE, self._read, self._prepare, self._apply, gather=BATCH
        )
        self._outcomes: list[tuple[Admitted | Rejected, str]] = []
        """What became of the receipts of the last step."""
        self.booked = Changes()
        self._log = logs.logger("ledger")
        self._counted = metrics.counter("receipts_total", "Receipts by what became of them", "outcome")
        self._lag = metrics.gauge("receipts_behind", "Receipts in Attribution's log that were not read yet")

    async def run(self) -> None:
        """Consume, for ever."""
        away = False
        while True:
            try:
                await self.step()
                away = False
            except ApiError as error:
                if error.code not in _AWAY:
                    raise
                if not away:
                    self._log.warning("attribution does not answer", error=str(error))
                away = True
                await asyncio.sleep(AWAY_SECONDS)

    async def step(self) -> int:
        """Read what there is, waiting for something, and book it at once; returns how many receipts that were."""
        self._outcomes = []
        read = await self._consumer.step()
        for entry, outcome in self._outcomes:
            self._counted.labels(outcome).inc()
            self._say(entry, outcome)
        self._lag.set(self._consumer.lag)
        if read:
            self.booked.tell()
        if any(outcome == OWED for _, outcome in self._outcomes):
            await self._debts.tell()
        return read

    def _say(self, entry: Admitted | Rejected, outcome: str) -> None:
        if isinstance(entry, Admitted) and outcome in (BOOKED, OWED):
            self._log.info("booked", response=entry.receipt.response, receipt=entry.sha256)
        elif outcome == CONFLICT:
            self._log.critical("two receipts for one answer: somebody holds attribution's key", receipt=entry.sha256)
        elif outcome != REPEATED:
            self._log.error("receipt rejected", reason=outcome, receipt=entry.sha256)

    async def _read(self, after: int) -> Page[bytes]:
        request = attribution_pb2.ReadReceiptsRequest(after_offset=after, max_entries=PAGE, wait_seconds=WAIT_SECONDS)
        reply = await self._client.call(self._client.attribution.ReadReceipts, request, DEADLINE)
        self._lag.set(max(0, reply.high_watermark - after))  # also while they wait for what they need
        entries = [(entry.offset, entry.receipt.document) for entry in reply.entries]
        return Page(entries, reply.high_watermark, reply.log_epoch)

    async def _prepare(self, documents: Sequence[bytes]) -> list[Admitted | Rejected]:
        while True:
            await self._splits.known()
            entries = await self._database.read(partial(self._admit, documents))
            ends = [entry.receipt.ended for entry in entries if isinstance(entry, Admitted)]
            ahead = max((end for end in ends if end is not None), default=0) - time.time()
            if ahead <= 0:
                return entries
            await asyncio.sleep(ahead)  # which split holds then is not known yet

    def _admit(self, documents: Sequence[bytes], connection: Connection) -> list[Admitted | Rejected]:
        # Read again each time: another ledger on this database may be the first of a newer configuration.
        published = published_terms.published(connection)
        held, lag = cache(partial(split_book.history, connection)), self._splits.lag
        terms = replace(self._terms, published=published, held=held, lag=lag, now=time.time())
        return admit.admit_all(documents, terms)

    def _apply(self, connection: Connection, entries: Sequence[Admitted | Rejected]) -> None:
        books.lock(connection)
        self._pen.check(connection)
        if not self._splits.knows(connection):
            raise split_book.not_read()  # the chain went back, or this process was paused, since they were judged
        self._outcomes = list(zip(entries, book_all(connection, entries, time.time(), self._room), strict=True))
