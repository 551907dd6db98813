"""Reads what happened on the chain and journals it: deposits, withdrawals and claims, each once.

The newest block whose events are journaled is stored in the same transaction as the journals.  Only blocks with enough
confirmations are read.  What it does not know: how to undo a journal.  A block that was read and is gone, deeper than
the confirmations, stops it with an error for an operator, because money that was credited may have been spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from operator import attrgetter

from sqlalchemy import Connection

from services.kit import logs
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import journal, replay
from services.ledger.chain import Chain, ChainUnavailable, Claimed, Deposit, NodeRefused, Withdrawal
from services.ledger.changes import Changes
from services.ledger.journal import Event
from services.ledger.replay import Contradiction
from services.ledger.store import books, payers
from services.ledger.store import chain as store

BLOCKS = 2_000  # at a time

ChainEvent = Deposit | Withdrawal | Claimed


class Reorganised(RuntimeError):
    """Blocks that were journaled are no longer part of the chain."""


class ChainFollower:
    """Follows one set of contracts.  Run `run` for ever; `journaled` tells of news."""

    def __init__(
        self, database: Database, chain: Chain, metrics: Metrics, *, confirmations: int, poll_seconds: float
    ) -> None:
        self._database, self._chain = database, chain
        self._confirmations, self._poll = confirmations, poll_seconds
        self._wanted, self.journaled = Changes(), Changes()
        self._log = logs.logger("ledger")
        self._behind = metrics.gauge("chain_behind_blocks", "Blocks with enough confirmations that were not read yet")

    def wake(self) -> None:
        """Something is expected on the chain."""
        self._wanted.tell()

    async def run(self) -> None:
        """Follow, for ever."""
        while True:
            try:
                while await self.step():
                    pass
            except (ChainUnavailable, NodeRefused) as error:
                self._log.warning("the chain cannot be read", error=str(error))
            await self._wanted.next(self._poll)

    async def step(self) -> int:
        """Read and journal some blocks; returns how many."""
        escrow = self._chain.contracts.escrow
        place = await self._database.read(lambda c: store.followed(c, escrow))
        read = await asyncio.to_thread(self._read, place)
        if read is None:
            return 0
        first, last, last_hash, events = read

        def write(connection: Connection) -> None:
            books.lock(connection)
            if store.followed(connection, escrow) != place:
                raise Contradiction("another process follows the chain into the same database: stop one of them")
            for event in events:
                _journal(connection, event)
            store.follow(connection, escrow, last, last_hash)

        await self._database.write(write)
        self.journaled.tell()
        return last - first + 1

    def _read(self, place: tuple[int, str] | None) -> tuple[int, int, str, list[ChainEvent]] | None:
        """First block, last block and its hash, and the events in between in order; None when there is nothing new."""
        if place is not None:
            self._must_stand(place)
        first = place[0] + 1 if place else self._chain.contracts.block
        newest = self._chain.head().number - self._confirmations
        self._behind.set(max(0, newest - first + 1))
        if newest < first:
            return None
        end = self._chain.block(min(newest, first + BLOCKS - 1))
        if end is None:
            return None
        sources: tuple[Iterable[ChainEvent], ...] = (
            self._chain.deposits(first, end.number),
            self._chain.withdrawals(first, end.number),
            self._chain.claims(first, end.number),
        )
        events = [event for source in sources for event in source]
        # Seen again after the events: they are of the chain that still holds what was journaled, or nothing is.
        if place is not None:
            self._must_stand(place)
        if self._chain.block(end.number) != end:
            return None
        return first, end.number, end.hash, sorted(events, key=attrgetter("block_number", "log_index"))

    def _must_stand(self, place: tuple[int, str]) -> None:
        """Raises `Reorganised` unless the newest journaled block is still part of the chain."""
        number, digest = place
        seen = self._chain.block(number)
        if seen is None or seen.hash != digest:
            raise Reorganised(
                f"block {number} was journaled as {digest} and is now {seen.hash if seen else 'gone'}: compare the "
                "deposits on chain with the journal, then restore the database from before that block"
            )


def _journal(connection: Connection, event: ChainEvent) -> None:
    at = Event(event.block_hash, event.tx_hash, event.log_index)
    match event:
        case Deposit():
            replay.tell(connection, journal.deposit(at, event.payer, event.amount))
        case Claimed():
            replay.tell(connection, journal.claim(at, event.account, event.amount))
        case Withdrawal(paid=False):
            payers.lock(connection, event.payer)
            payers.set_withdrawing(connection, event.payer, event.amount)
        case Withdrawal():
            payer = payers.lock(connection, event.payer)
            replay.tell(connection, journal.withdrawal(at, event.payer, event.amount, max(0, payer.balance)))
            payers.set_withdrawing(connection, event.payer, 0)
