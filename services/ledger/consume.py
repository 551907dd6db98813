"""Takes Attribution's receipts, in the order of its log, each exactly once, into the books.

Whoever is behind reads several pages before it books them at once: a transaction costs the same for many as for few.
A receipt that does not pass is kept with the reason and counted, and the stream goes on.  One that cannot be judged yet
waits in Attribution's log, with those after it; what leases reserve for them waits, too (`store.receipts_read`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import grpc
from sqlalchemy import Connection

from openledger.attribution.v1 import attribution_pb2
from openledger.client import ApiError, Client
from services.kit import logs
from services.kit.consumer import Consumer, Page
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import admit, split_book
from services.ledger.admit import Admitted, Candidate, Rejected, Terms
from services.ledger.book import BOOKED, CONFLICT, OWED, REPEATED, book_all
from services.ledger.chain import ChainError
from services.ledger.changes import Changes
from services.ledger.debts import Debts
from services.ledger.pen import Pen
from services.ledger.reading import Marks, Read
from services.ledger.split_book import SplitBook
from services.ledger.splits import Held
from services.ledger.store import books, receipts_read
from services.ledger.store import terms as published_terms
from services.ledger.store.tables import METADATA

SOURCE = "attribution/receipts"
PAGE, WAIT_SECONDS, DEADLINE = 200, 20.0, 40.0
BATCH = 2_000
"""Receipts that are booked at once, if so many wait: some tenths of a second in which the books are held."""
AWAY_SECONDS = 1.0
LOOK_SECONDS = 1.0
"""How often it is seen whether a receipt that waits still has to."""
NOTED_SECONDS = 10.0
"""How often it is noted up to when everything was read."""
QUIET_SECONDS = 300.0
"""A chain whose newest block is older than that is no clock: nothing is sent there, or its node stands still."""
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclass(frozen=True)
class _Judged:
    """What is to become of receipts, and what held of the splits by which that was decided, by revision."""

    entries: Sequence[Admitted | Rejected]
    held: Mapping[str, Sequence[Held]]


class _Changed(Exception):
    """The chain told of another history of splits since receipts were judged by one, or is not known any more."""


class Receipts:
    """The consumer of the receipts, while this process has the pen.  Run `run` for ever; `booked` tells of news.

    A receipt whose answer has not ended by this clock waits in Attribution's log; so does one that is paid by a
    revision's split, while the chain was not read lately: which splits hold is not known then.
    `room`: seconds that a payer's authorisation must still hold, to be redeemed.  `block_time`: Unix seconds of the
    chain's newest block; raises `ChainError`.
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
        block_time: Callable[[], int],
    ) -> None:
        self._database, self._client, self._room = database, attribution, room
        self._pen, self._debts, self._splits, self._block_time = pen, debts, splits, block_time
        self._terms = replace(terms, lag=splits.lag)
        self._consumer: Consumer[Candidate] = Consumer(
            database, METADATA, SOURCE, self._read, self._prepare, self._apply, gather=BATCH
        )
        self._first: int | None = None
        """Up to where the log was read before this step."""
        self._marks, self._noted = Marks(), float("-inf")
        self._known = False
        """Whether splits were, when it was seen last which receipts wait."""
        self._outcomes: list[tuple[Admitted | Rejected, str]] = []
        """What became of the receipts of the last step."""
        self.booked = Changes()
        self._log = logs.logger("ledger")
        self._counted = metrics.counter("receipts_total", "Receipts by what became of them", "outcome")
        self._lag = metrics.gauge("receipts_behind", "Receipts in Attribution's log that were not read yet")

    async def run(self) -> None:
        """Consume, for ever."""
        away, self._marks = False, Marks()  # another may have noted more since
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
        read = await self._read_on()
        for entry, outcome in self._outcomes:
            self._counted.labels(outcome).inc()
            self._say(entry, outcome)
        self._lag.set(self._consumer.lag)
        if read:
            self.booked.tell()
        if any(outcome == OWED for _, outcome in self._outcomes):
            await self._debts.tell()
        await self._note_read((self._first or 0) + read)
        return read

    async def _note_read(self, place: int) -> None:
        read = self._marks.read(place)
        if read is not None and time.monotonic() - self._noted >= NOTED_SECONDS:
            await self._database.write(lambda c: self._note(c, read))
            self._marks.noted()
            self._noted = time.monotonic()

    async def _read_on(self) -> int:
        while True:
            self._outcomes, self._first = [], None
            try:
                return await self._consumer.step()
            except _Changed:
                self._log.warning("splits changed while receipts were judged by them: they are judged again")

    def _say(self, entry: Admitted | Rejected, outcome: str) -> None:
        if isinstance(entry, Admitted) and outcome in (BOOKED, OWED):
            self._log.info("booked", response=entry.receipt.response, receipt=entry.sha256)
        elif outcome == CONFLICT:
            self._log.critical("two receipts for one answer: somebody holds attribution's key", receipt=entry.sha256)
        elif outcome != REPEATED:
            self._log.error("receipt rejected", reason=outcome, receipt=entry.sha256)

    async def _read(self, after: int) -> Page[Candidate]:
        """A page, up to the first receipt that waits.  Where that is the first one of a step: once it need not."""
        request = attribution_pb2.ReadReceiptsRequest(after_offset=after, max_entries=PAGE, wait_seconds=WAIT_SECONDS)
        asked = time.time()
        reply = await self._client.call(self._client.attribution.ReadReceipts, request, DEADLINE)
        self._marks.add(asked, reply.high_watermark)
        if self._first is None:
            self._first = after
            self._lag.set(max(0, reply.high_watermark - after))  # also while they wait
        candidates = await asyncio.to_thread(lambda: [admit.read(entry.receipt.document) for entry in reply.entries])
        entries = [(entry.offset, found) for entry, found in zip(reply.entries, candidates, strict=True)]
        while True:
            begun = time.monotonic()
            if after == self._first:  # all pages of a step are judged by one time
                self._terms = replace(self._terms, now=time.time(), newest=0)
            ready = await self._ready(candidates)
            if ready or not entries or after != self._first:
                return Page(entries[:ready], reply.high_watermark, reply.log_epoch)
            await asyncio.sleep(LOOK_SECONDS)
            if self._known:
                self._marks.wait(time.monotonic() - begun)

    async def _ready(self, candidates: Sequence[Candidate]) -> int:
        """How many of them, from the first on, can be judged now."""
        if not self._terms.newest and any(admit.far(candidate, self._terms) for candidate in candidates):
            # One of two clocks is wrong.  While the other one cannot be seen, nobody is refused for it.
            self._terms = replace(self._terms, newest=await self._newest())
        known = self._known = await self._database.read(self._splits.knows)
        waiting = (at for at, one in enumerate(candidates) if admit.waits(one, self._terms, known=known))
        return next(waiting, len(candidates))

    async def _newest(self) -> float:
        try:
            newest = await asyncio.to_thread(self._block_time)
        except ChainError as error:
            self._log.warning("the chain cannot be asked for its time", error=str(error))
            return float("inf")
        return newest if newest > self._terms.now - QUIET_SECONDS else float("inf")

    async def _prepare(self, candidates: Sequence[Candidate]) -> _Judged:
        return await self._database.read(partial(self._judge, candidates))

    def _judge(self, candidates: Sequence[Candidate], connection: Connection) -> _Judged:
        held: dict[str, Sequence[Held]] = {}

        def look(revision: str) -> Sequence[Held]:
            if revision not in held:
                held[revision] = split_book.history(connection, revision)
            return held[revision]

        # Read again each time: another ledger on this database may be the first of a newer configuration.
        terms = replace(self._terms, published=published_terms.published(connection), held=look)
        return _Judged([admit.admit(candidate, terms) for candidate in candidates], held)

    def _apply(self, connection: Connection, judged: _Judged) -> None:
        books.lock(connection)
        self._pen.check(connection)
        # The chain went back since they were judged, or this process was paused; or a change came that counts.
        if judged.held and not self._splits.knows(connection):
            raise _Changed
        if any(split_book.history(connection, revision) != held for revision, held in judged.held.items()):
            raise _Changed
        outcomes = book_all(connection, judged.entries, time.time(), self._room)
        self._outcomes = list(zip(judged.entries, outcomes, strict=True))

    def _note(self, connection: Connection, read: Read) -> None:
        """That all receipts of then were read; not while splits are not known: they wait where they are made."""
        books.lock(connection)
        self._pen.check(connection)
        if self._splits.knows(connection):
            receipts_read.note(connection, SOURCE, *read)


async def read_none(database: Database, pen: Pen) -> None:
    """What is to be done for ever in place of `Receipts.run` where nobody makes receipts: leases end by the clock."""
    await database.write(pen.checked(lambda c: receipts_read.end(c, SOURCE)))
    await asyncio.Event().wait()
