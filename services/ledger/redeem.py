"""Moves what payers have spent from the escrow to the distributor: by epochs, and before it could no longer be had.

That is before a payer takes the money out, and before the authorisation ends under which it was spent.

A redemption is cumulative, so that none of them takes anything twice.  That something was redeemed is known from the
chain's events (`chain_follower`), which may be taken back: then it is tried again.  What it does not know: epochs'
roots (`settler`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from openledger import canonical, spending
from openledger.recover import address_of
from openledger.spending import SpendingAuthorisation
from services.kit import logs
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import calls
from services.ledger.calls import Redemption
from services.ledger.chain import Chain
from services.ledger.chain_writer import ChainWriter
from services.ledger.pen import Pen
from services.ledger.store import chain as sent_store
from services.ledger.store import epochs, payers, sender
from services.ledger.store.chain import State as Sent
from services.ledger.store.chain import Transaction
from services.ledger.store.epochs import UNDONE, Epoch
from services.ledger.store.payers import Unredeemed

AGAIN_SECONDS = 60.0
"""How long a redemption that failed rests: a node may have been wrong, and asking again costs nothing."""

PAID_SECONDS = 3600.0
"""How long a payer rests of whom one failed in its block, which cost gas, whatever it signs meanwhile."""

WALLETS_SECONDS = 600.0
"""How often contract wallets are looked at."""

T = TypeVar("T")


class Redeemer:
    """Plans redemptions and notes what became of them, while this process has the pen.

    `room`: how many seconds before its end an authorisation is used, whatever epochs do.  `credit`: what a contract
    wallet may owe for longer than `WALLETS_SECONDS`; it can take its signature back, which a key cannot.
    """

    def __init__(
        self,
        database: Database,
        chain: Chain,
        writer: ChainWriter,
        pen: Pen,
        metrics: Metrics,
        *,
        room: int,
        credit: int,
        poll_seconds: float,
    ) -> None:
        self._database, self._chain, self._writer, self._pen = database, chain, writer, pen
        self._room, self._credit, self._poll = room, credit, poll_seconds
        self._wallets_at = float("-inf")
        self._failed: dict[str, float] = {}
        self._paid: dict[str, float] = {}
        self._log = logs.logger("ledger")
        self._unredeemable = metrics.counter("unredeemable_total", "Payers whose spending the escrow would not give")

    async def leaving(self) -> None:
        """Who takes money out of escrow pays first for what was spent, and so does whose authorisation ends.

        The withdrawal's delay is there for the one, and that charges stop `room` seconds before the end for the other.
        """
        lines = await self._database.read(lambda c: payers.leaving(c, time.time(), self._room))
        if time.monotonic() - self._wallets_at >= WALLETS_SECONDS:
            self._wallets_at = time.monotonic()
            lines += await self._wallets()
        await self._alone(lines)

    async def _wallets(self) -> list[Unredeemed]:
        """Contract wallets that owe more than their credit."""
        now = time.time()

        def owing(connection: Connection) -> list[Unredeemed]:
            found = payers.unredeemed(connection, more_than=self._credit)
            return [line for line in found if line.deadline >= now and not self._by_key(line)]

        return await self._database.read(owing)

    def _by_key(self, line: Unredeemed) -> bool:
        authorised = SpendingAuthorisation(line.payer, line.cap, line.deadline)
        at = self._chain.contracts.escrow
        digest = spending.authorisation_digest(self._chain.chain_id, at, authorised)
        return address_of(digest, line.signature) == line.payer

    async def planned(self, epoch: Epoch) -> bool:
        """Redeem what the epoch planned; says whether all that can be done was done."""
        for batch in await self._database.read(lambda c: epochs.batches(c, f"epoch/{epoch.key}/")):
            if not await self._batch(epoch, batch):
                return False
        return True

    async def late(self, epoch: Epoch) -> None:
        """What the epoch's payers still owe: could not be redeemed when it was due, or was, and the chain undid it."""

        def owing(connection: Connection) -> list[Unredeemed]:
            batches = late_batch(epoch), UNDONE
            wanted = {line.payer for batch in batches for line in epochs.redemptions(connection, batch)}
            return [line for line in payers.unredeemed(connection) if line.payer in wanted]

        await self._alone(await self._database.read(owing))

    async def under_way(self) -> bool:
        """Whether redemptions were sent that have not ended."""
        return any(sent.key.startswith("redeem:") for sent in await self._database.read(sent_store.unfinished))

    async def _alone(self, lines: Sequence[Unredeemed]) -> None:
        """Each in a transaction of its own.

        One that failed is tried again after a while; with another signature, or another deposit, at once, unless the
        failure was paid for: a contract wallet may take a signature when it is estimated alone.
        """
        for line in lines:
            if time.monotonic() - self._paid.get(line.payer, float("-inf")) < PAID_SECONDS:
                continue
            signed = canonical.sha256(line.signature)[:16]
            deposited = await self._ask(lambda who=line.payer: self._chain.balance(who) + self._chain.spent(who))  # type: ignore[misc]
            key = f"{_alone(line.payer)}{line.spent}/{signed}/{deposited}"
            failed = self._failed.get(key)
            if failed is not None and time.monotonic() - failed < AGAIN_SECONDS:
                continue
            self._failed.pop(key, None)
            ended = await self._sent_alone(key, line, again=failed is not None)
            if ended is not None and ended.state is Sent.FAILED:
                self._failed[key] = time.monotonic()
                if ended.block:
                    self._paid[line.payer] = self._failed[key]

    async def _batch(self, epoch: Epoch, batch: str) -> bool:
        """Redeem a batch's lines; says whether all that can be done was done."""
        lines = await self._database.read(lambda c: epochs.redemptions(c, batch))
        # All or nothing: what one wallet's code does, or one line that cannot be redeemed, must not keep the others.
        together = [line for line in lines if self._by_key(line)]
        alone = [line for line in lines if line not in together]
        if together:
            whole = await self._sent(f"redeem:{batch}", together)
            if whole is None:
                return False
            alone = alone if whole.state is Sent.FINAL else lines
        bad: list[tuple[Unredeemed, str]] = []
        for line, ended in [(line, await self._sent(f"redeem:{batch}/{line.payer}", [line])) for line in alone]:
            if ended is None:
                return False
            if ended.state is Sent.FAILED:
                bad.append((line, ended.error))
        for line, error in bad:
            self._unredeemable.inc()
            self._log.error("spending cannot be redeemed", payer=line.payer, spent=line.spent, error=error)
        await self._write(lambda c: _finish(c, epoch, batch, [line for line, _ in bad]))
        return True

    async def _sent(self, key: str, lines: Sequence[Unredeemed]) -> Transaction | None:
        """The ended transaction that redeems those lines, or None while it is on its way."""
        call = calls.redeem(self._chain.contracts, [_redemption(line) for line in lines])
        return await self._over(key, await self._writer.plan(key, call))

    async def _sent_alone(self, key: str, line: Unredeemed, *, again: bool) -> Transaction | None:
        """Likewise, of one line, unless some of what was spent was taken back meanwhile (`correct`)."""
        call = calls.redeem(self._chain.contracts, [_redemption(line)])

        def plan(connection: Connection) -> Transaction | None:
            sender.lock_all(connection)
            if payers.lock(connection, line.payer).spent < line.spent:
                return None
            return sent_store.plan(connection, key, call, again=again)

        known = await self._database.read(lambda c: sent_store.get(c, key))
        if known is None or again:
            known = await self._database.write(plan)
            self._writer.wake()
        return None if known is None else await self._over(key, known)

    async def _over(self, key: str, transaction: Transaction) -> Transaction | None:
        return transaction if transaction.over else await self._writer.wait(key, self._poll)

    async def _write(self, change: Callable[[Connection], None]) -> None:
        def write(connection: Connection) -> None:
            self._pen.check(connection)
            change(connection)

        await self._database.write(write)

    async def _ask(self, question: Callable[[], T]) -> T:
        return await asyncio.to_thread(question)


def asked_for(connection: Connection, payer: str) -> int:
    """The most that is, or was, on its way to be taken of the payer's deposits without an epoch."""
    prefix = _alone(payer)
    spent = (key.removeprefix(prefix).partition("/")[0] for key in sent_store.keys(connection, prefix))
    return max(map(int, spent), default=0)


def _alone(payer: str) -> str:
    """What the keys of its redemptions begin with."""
    return f"redeem:alone/{payer}/"


def late_batch(epoch: Epoch) -> str:
    """The name under which it is remembered who could not be redeemed."""
    return f"late/{epoch.key}"


def _redemption(line: Unredeemed) -> Redemption:
    return Redemption(SpendingAuthorisation(line.payer, line.cap, line.deadline), line.spent, line.signature)


def _finish(connection: Connection, epoch: Epoch, batch: str, bad: Sequence[Unredeemed]) -> None:
    """A batch has run its course; what could not be redeemed is remembered for `late`."""
    epochs.drop_batch(connection, batch)
    if bad:
        epochs.plan_redemption(connection, late_batch(epoch), bad)
