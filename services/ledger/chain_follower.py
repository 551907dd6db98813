"""Reads what happened on the chain and journals it: deposits, withdrawals and claims, each once.

Notes what was redeemed, and from when on which split of a revision holds.

The newest block whose events are journaled is stored in the same transaction as the journals.  Only blocks with enough
confirmations are read.  Where the chain has left a block that was read, it goes back to the newest one that stands:
what was journaled of those that went is voided by journals of its own, and what the chain holds now is read again.
Money that was spent by then leaves its payer with less than nothing: a debt, shown and never hidden.  What it does
not know: which of two chains is the right one.  It goes by what the node shows, once that shows another block where
one was; that there is none yet says that the node is behind, and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

from sqlalchemy import Connection

from services.kit import logs
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import chain_events, replay, totals
from services.ledger.chain import Chain, ChainError
from services.ledger.chain_events import ChainEvent
from services.ledger.changes import Changes
from services.ledger.debts import Debts
from services.ledger.pen import Pen
from services.ledger.store import books, events, payers, splits
from services.ledger.store import chain as store
from services.ledger.totals import Sum

BLOCKS = 2_000  # at a time
BACK = 128  # read again: as far as a node behind the others may be
PLACES = 50  # looked at on one reading of the database
BEGINNING_SECONDS = 3600.0  # after everything was read again, until it may be once more

NOTED_SECONDS = 10  # how often it is noted that there is nothing new

Place = tuple[int, str]


@dataclass(frozen=True)
class Read:
    """Blocks that were read for the first time, both ends included, and in order the events that were not known.

    `all`: with them, everything that counts at `time` (Unix seconds) was read.  `newest`: then, of each sum that events
    tell of, what the newest one says.
    """

    first: int
    last: int
    last_hash: str
    all: bool
    events: list[ChainEvent]
    newest: dict[Sum, int | None]
    time: int


@dataclass(frozen=True)
class Left:
    """The chain left what was journaled: the newest place with events that stands, None where nothing does.

    `lost`: the place up to which blocks were read does not.
    """

    stands: Place | None
    lost: bool = False


@dataclass(frozen=True)
class Nothing:
    """Everything that counts at that time (Unix seconds) has been read already."""

    time: int


class ChainFollower:
    """Follows one set of contracts, while this process has the pen.  Run `run` for ever; `journaled` tells of news.

    `quiet`: blocks come only when there is something to put into them.  Of any other chain no more is known than up to
    the time of the newest block: a node that stands still says nothing of what came since.  Of none more than up to a
    change of a split that does not count yet, however long that takes.
    """

    def __init__(
        self,
        database: Database,
        chain: Chain,
        pen: Pen,
        metrics: Metrics,
        *,
        confirmations: int,
        poll_seconds: float,
        quiet: bool,
    ) -> None:
        self._database, self._chain, self._pen = database, chain, pen
        self._confirmations, self._poll, self._quiet = confirmations, poll_seconds, quiet
        self._wanted, self.journaled, self.debts = Changes(), Changes(), Debts(database, metrics)
        self._doubted: dict[Sum, int] = {}
        self._noted = self._reread = float("-inf")
        self._rereading = False
        self._log = logs.logger("ledger")
        self._behind = metrics.gauge("chain_behind_blocks", "Blocks with enough confirmations that were not read yet")
        self._node_behind = metrics.gauge("node_behind_blocks", "Blocks that were read and that the node lacks now")
        self._ahead = metrics.gauge("chain_ahead_seconds", "By how much the newest block's time is after this clock's")
        self._left = metrics.counter("reorganisations_total", "Times that the chain left what was journaled")
        self._voided = metrics.counter("voided_total", "Journals of the chain's that it took back")
        self._unfit = metrics.gauge("sums_doubted", "Sums of which the newest event says something else than the books")

    def wake(self) -> None:
        """Something is expected on the chain."""
        self._wanted.tell()

    async def run(self) -> None:
        """Follow, for ever."""
        await self.debts.tell()
        while True:
            try:
                while await self.step():
                    pass
            except ChainError as error:
                self._log.warning("the chain cannot be read", error=str(error))
            await self._wanted.next(self._poll)

    async def step(self) -> int:
        """Read and journal some blocks, or take back what is gone; returns how many were read."""
        escrow = self._chain.contracts.escrow
        place, last = await self._database.read(lambda c: (store.followed(c, escrow), events.newest_place(c)))
        found = await self._look(place, last)
        if found is None:
            return 0

        def write(connection: Connection) -> int:
            books.lock(connection)
            self._pen.check(connection)
            if store.followed(connection, escrow) != place:
                return 0  # this process's turn was over in between, and another's after it
            return self._write(connection, found)

        read = await self._database.write(write)
        self._noted = float("-inf") if isinstance(found, Left) else time.monotonic()
        if isinstance(found, Nothing):
            return 0
        if isinstance(found, Left) or self.debts.told:
            await self.debts.tell()
        self.journaled.tell()
        return read

    async def _look(self, place: Place | None, last: Place | None) -> Read | Left | Nothing | None:
        """What there is to write, if anything.  `last`: the newest place with events."""
        asked = int(time.time())
        head = await asyncio.to_thread(self._chain.head)
        self._ahead.set(max(0, head.timestamp - asked))
        if last is not None and place is not None and last[0] < place[0]:
            last = None  # it stands where a later one does
        there = {one: await asyncio.to_thread(self._stands, one) for one in (last, place) if one is not None}
        gone = next((one for one, stands in there.items() if not stands), None)
        if gone is not None:
            self._node_behind.set(max(0, gone[0] - head.number))
            fork = await self._fork(gone, head.number)
            return fork and replace(fork, lost=place is not None and there[place] is False)
        self._node_behind.set(0)
        known = asked if self._quiet else min(asked, head.timestamp)
        return await asyncio.to_thread(self._read, place, head.number, known)

    def _known_up_to(self, newest: int, head: int, time: int) -> int:
        """That time, or the one of the first change of a split in blocks that do not count yet."""
        coming = self._chain.splits(newest + 1, head) if newest < head else ()
        return min((time, *(told.time for told in coming)))

    def _stands(self, place: Place) -> bool | None:
        """Whether that block is part of the chain; None where the node shows none of its number."""
        seen = self._chain.block(place[0])
        return None if seen is None else seen.hash == place[1]

    async def _fork(self, place: Place, head: int) -> Left | None:
        """Where the chain went another way; None while the node shows nothing else in a journaled block's place."""
        up_to, left = head, place[0] <= head and await asyncio.to_thread(self._stands, place) is False
        while places := await self._database.read(partial(events.places, up_to=up_to, limit=PLACES)):
            for known in places:
                stands = await asyncio.to_thread(self._stands, known)
                if stands is None:
                    return None  # it has a later block, and not this one: it contradicts itself
                if stands:
                    return await self._sure(known) if left else None
                left, up_to = True, known[0] - 1
        return await self._sure(None) if left else None

    async def _sure(self, stands: Place | None) -> Left:
        """Before anything is taken back: it is the chain that it was, by its first block."""
        await asyncio.to_thread(self._chain.check)
        return Left(stands)

    def _read(self, place: Place | None, head: int, known_at: int) -> Read | Nothing | None:
        """The next blocks and their events.

        None where the node is behind, when it changed while it was read, or if it was just noted that nothing is new.
        """
        first = place[0] + 1 if place else self._chain.contracts.block
        newest = head - self._confirmations
        self._behind.set(max(0, newest - first + 1))
        if newest < first:
            due = newest == first - 1 and time.monotonic() - self._noted >= NOTED_SECONDS
            return Nothing(self._known_up_to(newest, head, known_at)) if due else None
        end = self._chain.block(min(newest, first + BLOCKS - 1))
        if end is None:
            return None
        at_head = end.number == newest
        known_at = self._known_up_to(newest, head, known_at) if at_head else known_at
        since = max(self._chain.contracts.block, first - BACK) if at_head else first
        chain = self._chain
        sources = (chain.deposits, chain.withdrawals, chain.redemptions, chain.claims, chain.splits)
        told: list[ChainEvent] = [event for source in sources for event in source(since, end.number)]
        told.sort(key=attrgetter("block_number", "log_index"))
        known = self._database.read_now(lambda c: events.known(c, since, end.number))
        fresh = [event for event in told if (event.block_number, event.log_index, event.block_hash) not in known]
        # Looked at after the events: they are of the chain that holds what was journaled, or nothing is.
        places = {(event.block_number, event.block_hash) for event in fresh} | {(end.number, end.hash)}
        if not all(self._stands(seen) for seen in (places | {place} if place else places)):
            return None
        return Read(first, end.number, end.hash, at_head, fresh, totals.newest(told) if at_head else {}, known_at)

    def _write(self, connection: Connection, found: Read | Left | Nothing) -> int:
        match found:
            case Read():
                return self._take(connection, found)
            case Left():
                return self._take_back(connection, found)
            case Nothing():
                store.note_read_time(connection, self._chain.contracts.escrow, found.time)
                return 0

    def _take(self, connection: Connection, read: Read) -> int:
        """Journal what was read; returns how many blocks that were.  Where sums do not fit, read everything again."""
        escrow = self._chain.contracts.escrow
        for event in read.events:
            chain_events.take(connection, event)
        store.follow(connection, escrow, read.last, read.last_hash)
        if read.all:
            store.note_read_time(connection, escrow, read.time)
            self._reread = time.monotonic() if self._rereading else self._reread
            self._rereading = False
        if read.newest:
            self._compare(connection, read.newest)
        return read.last - read.first + 1

    def _compare(self, connection: Connection, newest: dict[Sum, int | None]) -> None:
        doubted = totals.misfits(connection, {**self._doubted, **newest})
        self._unfit.set(len(doubted))
        # What was missing may have come with the next look; if not, it is further back.
        if self._doubted.keys() & doubted.keys() and time.monotonic() - self._reread > BEGINNING_SECONDS:
            self._rereading = True
            store.forget_place(connection, self._chain.contracts.escrow)
            self._log.error("events are missing: the chain is read from the beginning", sums=sorted(doubted)[:10])
        self._doubted = doubted

    def _take_back(self, connection: Connection, left: Left) -> int:
        """Void what is gone, the newest first; returns 0: nothing was read."""
        escrow = self._chain.contracts.escrow
        stands = left.stands[0] if left.stands else -1
        gone = events.after(connection, stands)
        voided = sum(replay.take_back(connection, told.journal) for told in gone if told.journal)
        events.forget_after(connection, stands)
        splits.forget_after(connection, stands)
        for account in sorted({told.account for told in gone if told.withdrawing is not None}):
            payers.lock(connection, account)
            payers.set_withdrawing(connection, account, events.withdrawing(connection, account))
        for account in sorted({told.account for told in gone if told.redeemed is not None}):
            payers.lock(connection, account)
            chain_events.redeem_again(connection, account)
        place = store.followed(connection, escrow)
        if left.stands is not None and place is not None and place[0] >= left.stands[0]:
            store.follow(connection, escrow, *left.stands)
        elif left.stands is None or left.lost:  # else less than that is read again as yet
            store.forget_place(connection, escrow)
        store.took_back(connection, escrow)
        self._doubted = {}
        self._left.inc()
        self._voided.inc(voided)
        self._log.error("the chain took back what was journaled", after_block=stands, journals=voided)
        return 0
