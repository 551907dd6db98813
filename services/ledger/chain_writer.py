"""Sends: every transaction from planned to final, through any crash and any reorganisation, exactly once.

    planned -> signed -> mined -> final, or failed

A transaction is planned under a key that says what it is for, so that planning twice is planning once.  Its nonce is
taken and its signed bytes are stored in one database transaction, before the chain sees them; whatever happens then,
the same bytes are sent again until a block holds them, or others that pay more in their stead (`chain_stuck`).  A block
that goes takes what ended in it back to signed.  It never goes by one "no such transaction" of a node, which may be
behind; only by what blocks say.  What it does not know: what the transactions are for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from services.kit import logs
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import gas_bounds
from services.ledger.chain import Call, CallReverted, Chain, ChainError, NodeRefused, NonceTooLow, Price, Receipt
from services.ledger.chain_stuck import Gaps, Stuck
from services.ledger.changes import Changes
from services.ledger.pen import Pen
from services.ledger.signer import Signer, SignerRefused
from services.ledger.signing import Fees, Patience, SignedTransaction, offer, sign
from services.ledger.store import chain as store
from services.ledger.store import sender
from services.ledger.store.chain import Attempt, State, Transaction

T = TypeVar("T")


class ChainWriter:
    """Sends for one account, while this process has the pen.  Run `run` for ever."""

    def __init__(
        self,
        database: Database,
        chain: Chain,
        signer: Signer,
        pen: Pen,
        metrics: Metrics,
        *,
        confirmations: int,
        poll_seconds: float,
        patience: Patience,
    ) -> None:
        self._database, self._chain, self._signer, self._pen = database, chain, signer, pen
        self._address = signer.address.lower()
        self._confirmations, self._poll = confirmations, poll_seconds
        self._cap, self._gas_percent = patience.max_fee, patience.gas_percent
        self._stuck = Stuck(chain, self._address, patience, confirmations, metrics)
        self._gaps = Gaps(database, chain, self._address, metrics)
        self._planned, self.ended = Changes(), Changes()
        self._log = logs.logger("ledger")
        self._outcomes = metrics.counter("transactions_total", "Transactions that ended", "outcome")
        self._waiting = metrics.gauge("transactions_waiting", "Transactions that have not ended")
        self._undone = metrics.counter("transactions_undone_total", "Transactions whose block the chain took back")

    def wake(self) -> None:
        """Something was planned."""
        self._planned.tell()

    async def plan(self, key: str, call: Call, *, again: bool = False) -> Transaction:
        """The transaction of that key, planned if there is none; `again`: also if the last try failed."""
        found = await self._database.read(lambda c: store.get(c, key))
        # Who waits for a transaction plans it at every look: only the first time is there something to write.
        if found is None or (again and found.state is State.FAILED):
            found = await self._database.write(lambda c: store.plan(c, key, call, again=again))
        self.wake()
        return found

    async def wait(self, key: str, seconds: float) -> Transaction | None:
        """The transaction once it has ended; None when it has not within that time."""
        return await self.ended.until(lambda: self._ended(key), seconds)

    async def run(self) -> None:
        """Move every transaction on, for ever."""
        while True:
            try:
                await self.step()
            except ChainError as error:
                self._log.warning("the chain cannot be used", error=str(error))
            await self._planned.next(self._poll)

    async def step(self) -> None:
        """Move every transaction on by what the chain has to say now."""
        await self._take_back()
        pending = await self._database.read(store.unfinished)
        self._waiting.set(len(pending))
        self._stuck.look_again(pending)
        for transaction in pending:
            try:
                await self._move(transaction)
            except (NodeRefused, SignerRefused) as error:
                self._log.error("the node or the signer refuses", key=transaction.key, error=str(error))
        await self._gaps.close(pending)

    async def _take_back(self) -> None:
        """What ended in blocks that are no longer part of the chain is on its way again, the newest first."""
        while newest := await self._database.read(store.newest_ended):
            seen: Transaction | None = newest
            if (head := await self._ask(self._chain.head)).number < newest.block:
                # If what was in a block before it is gone, so is it; else the node is behind.
                seen = await self._database.read(lambda c, n=head.number: store.newest_ended(c, n))  # type: ignore[misc]
            if seen is None or not await self._ask(partial(self._gone, seen)):
                return
            await self._unmine(newest)

    def _gone(self, transaction: Transaction) -> bool:
        """Whether another block is where the transaction's was.  That there is none yet says nothing."""
        block = self._chain.block(transaction.block)
        if block is None or block.hash == transaction.block_hash:
            return False
        self._chain.check()
        return True

    async def _unmine(self, transaction: Transaction) -> None:
        self._log.warning("a block was undone", key=transaction.key, block=transaction.block)
        if await self._write(lambda c: store.unmined(c, transaction)):
            self._undone.inc()

    async def _move(self, transaction: Transaction) -> None:
        if transaction.state is State.PLANNED:
            transaction = await self._sign(transaction)
        if transaction.state is State.SIGNED:
            transaction = await self._send(transaction)
        if transaction.state is State.MINED:
            await self._settle(transaction)

    async def _sign(self, transaction: Transaction) -> Transaction:
        most = gas_bounds.most(transaction.call) * self._gas_percent // 100
        try:
            gas, price, nonce = await self._ask(lambda: self._quote(transaction.call, most))
        except CallReverted as reverted:
            # It would fail: better known now than paid for.
            more = "" if reverted.error else f", with {most} gas, which is the most that it may take"
            return await self._given_up(transaction, f"{reverted}{more}")
        except NodeRefused as refused:
            if not await self._ask(lambda: self._stuck.inestimable(transaction.key)):
                raise
            return await self._given_up(transaction, f"the node does not say what it takes of {most} gas: {refused}")
        if gas > most:
            return await self._given_up(transaction, f"it takes too much gas: {gas}, where {most} are the most")
        fees = offer(price, self._cap)
        if fees is None:
            self._stuck.priced_out(transaction.key, price)
            return transaction
        nonce = await self._database.read(lambda c: sender.next_nonce(c, self._address, nonce))
        # Before the transaction, not in it: a signing service may take its time, and nobody must wait for the database.
        signed = await self._ask(lambda: self._signed(transaction.call, nonce, gas, fees))
        return await self._write(lambda c: self._commit(c, transaction, signed))

    async def _given_up(self, transaction: Transaction, why: str) -> Transaction:
        await self._end(transaction, error=why)
        return transaction

    def _signed(self, call: Call, nonce: int, gas: int, fees: Fees) -> SignedTransaction:
        return sign(self._signer, call, chain_id=self._chain.chain_id, nonce=nonce, gas=gas, fees=fees)

    def _quote(self, call: Call, most: int) -> tuple[int, Price, int]:
        gas = self._chain.estimate(self._address, call, most)
        found = gas, self._chain.price(), self._chain.nonce(self._address)
        self._chain.check()  # last: all of it was of this chain
        return found

    def _commit(self, connection: Connection, transaction: Transaction, signed: SignedTransaction) -> Transaction:
        """Store what was signed with its nonce taken.  Where the nonce went elsewhere meanwhile, it stays planned."""
        now = _stored(connection, transaction)
        if now.state is State.PLANNED and sender.take_nonce(connection, self._address, self._pen.fence, signed.nonce):
            store.signed(connection, transaction, self._address, signed)
        return _stored(connection, transaction)

    async def _send(self, transaction: Transaction) -> Transaction:
        nonce, raw = transaction.nonce, transaction.raw
        assert nonce is not None
        assert raw is not None
        attempts = await self._database.read(lambda c: store.attempts(c, self._address, nonce))
        found = await self._ask(lambda: self._receipt(attempts))
        refused = False
        if found is None:
            try:
                await self._ask(lambda: self._chain.broadcast(raw))
            except NonceTooLow:
                return await self._doubt(transaction)
            except NodeRefused as error:
                # An offer too low, an account without ether: the bytes stay, and are offered again.
                self._log.error("the node refuses a transaction", key=transaction.key, error=str(error))
                refused = True
            found = await self._ask(lambda: self._receipt(attempts))
        if found is None:
            return await self._hurry(transaction, refused=refused)
        return await self._mined(transaction, *found)

    def _receipt(self, attempts: list[Attempt]) -> tuple[Attempt, Receipt] | None:
        """Which of them is in a block of the chain, and its receipt."""
        for attempt in attempts:
            receipt = self._chain.receipt(attempt.hash)
            if receipt is None:
                continue
            block = self._chain.block(receipt.block_number)
            if receipt.tx_hash == attempt.hash and block is not None and block.hash == receipt.block_hash:
                return attempt, receipt
            self._log.warning("the node shows a receipt of a block that it does not have", hash=attempt.hash)
        return None

    async def _doubt(self, transaction: Transaction) -> Transaction:
        """The node says that the nonce is used up, and shows none of our attempts."""
        if not await self._ask(lambda: self._stuck.dead(transaction)):
            return transaction
        self._log.error("another transaction took the nonce", key=transaction.key, nonce=transaction.nonce)
        return await self._changed(transaction, lambda c: store.unsigned(c, transaction))

    async def _hurry(self, transaction: Transaction, *, refused: bool) -> Transaction:
        """Another offer for what has waited too long."""
        terms = await self._ask(lambda: self._stuck.better(transaction, refused=refused))
        nonce = transaction.nonce
        if terms is None or nonce is None:
            return transaction
        gas, fees = terms
        signed = await self._ask(lambda: self._signed(transaction.call, nonce, gas, fees))
        self._log.warning("a transaction gets a better offer", key=transaction.key, nonce=nonce, max_fee=fees.max_fee)
        return await self._changed(transaction, lambda c: store.signed(c, transaction, self._address, signed))

    async def _mined(self, transaction: Transaction, attempt: Attempt, receipt: Receipt) -> Transaction:
        error = "" if receipt.succeeded else f"the transaction {receipt.tx_hash} was reverted"
        where = receipt.block_number, receipt.block_hash
        return await self._changed(transaction, lambda c: store.mined(c, transaction, attempt, *where, error))

    async def _settle(self, transaction: Transaction) -> None:
        """Whether a mined transaction is final: deep enough, and still in the block in which it was."""
        if await self._ask(lambda: self._gone(transaction)):
            await self._unmine(transaction)
            return
        head = await self._ask(self._chain.head)
        if head.number < transaction.block:
            await self._ask(partial(self._offer_again, transaction))
        elif head.number - transaction.block >= self._confirmations:
            await self._end(transaction, error=transaction.error)

    def _offer_again(self, transaction: Transaction) -> None:
        """The node is behind, or its chain went back, and the transaction is not in it: the same bytes do no harm."""
        assert transaction.raw is not None
        with suppress(NodeRefused):
            self._chain.broadcast(transaction.raw)

    async def _end(self, transaction: Transaction, *, error: str) -> None:
        if await self._write(lambda c: store.ended(c, transaction, error=error)):
            self._outcomes.labels("failed" if error else "final").inc()
            self._log.info("transaction ended", key=transaction.key, hash=transaction.hash, error=error)
        self.ended.tell()

    async def _changed(self, transaction: Transaction, change: Callable[[Connection], None]) -> Transaction:
        """The transaction as it stands after the change, which may find it moved on already."""

        def write(connection: Connection) -> Transaction:
            change(connection)
            return _stored(connection, transaction)

        return await self._write(write)

    async def _write(self, change: Callable[[Connection], T]) -> T:
        """`change`, if it is this process's turn.  Raises `LostPen`."""

        def write(connection: Connection) -> T:
            self._pen.check(connection)
            return change(connection)

        return await self._database.write(write)

    async def _ended(self, key: str) -> Transaction | None:
        found = await self._database.read(lambda c: store.get(c, key))
        return found if found is not None and found.over else None

    async def _ask(self, question: Callable[[], T]) -> T:
        return await asyncio.to_thread(question)


def _stored(connection: Connection, transaction: Transaction) -> Transaction:
    found = store.get(connection, transaction.key)
    assert found is not None
    return found
