"""The one sender: every transaction from planned to final, through any crash, exactly once.

    planned -> signed -> mined -> final, or failed

A transaction is planned under a key that says what it is for, so that planning twice is planning once.  Its nonce is
taken and its signed bytes are stored in one database transaction, before the chain sees them; whatever happens then,
the same bytes are sent again until a block holds them.  What it does not know: what the transactions are for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from eth_account.signers.local import LocalAccount
from sqlalchemy import Connection

from services.kit import logs
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger.chain import (
    Call,
    CallReverted,
    Chain,
    ChainUnavailable,
    Fees,
    NodeRefused,
    NonceTooLow,
    Receipt,
    sign,
)
from services.ledger.changes import Changes
from services.ledger.store import chain as store
from services.ledger.store.chain import State, Transaction

T = TypeVar("T")


class ChainWriter:
    """Sends for one account.  Make it, `open` it, run `run` for ever."""

    def __init__(
        self,
        database: Database,
        chain: Chain,
        account: LocalAccount,
        metrics: Metrics,
        *,
        confirmations: int,
        poll_seconds: float,
    ) -> None:
        self._database, self._chain, self._account = database, chain, account
        self._address = account.address.lower()
        self._confirmations, self._poll = confirmations, poll_seconds
        self._fence = 0
        self._planned, self.ended = Changes(), Changes()
        self._log = logs.logger("ledger")
        self._outcomes = metrics.counter("transactions_total", "Transactions that ended", "outcome")
        self._waiting = metrics.gauge("transactions_waiting", "Transactions that have not ended")

    def open(self) -> None:
        """Become the account's one sender.  Whoever was it before finds out at its next nonce."""
        self._fence = self._database.write_now(lambda c: store.take_pen(c, self._address))

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
            except ChainUnavailable as error:
                self._log.warning("the chain does not answer", error=str(error))
            await self._planned.next(self._poll)

    async def step(self) -> None:
        """Move every transaction on by what the chain has to say now."""
        pending = await self._database.read(store.unfinished)
        self._waiting.set(len(pending))
        for transaction in pending:
            try:
                await self._move(transaction)
            except NodeRefused as error:
                # An offer too low, an account without ether: the bytes stay, and are offered again.
                self._log.error("the node refuses a transaction", key=transaction.key, error=str(error))

    async def _move(self, transaction: Transaction) -> None:
        if transaction.state is State.PLANNED:
            signed = await self._sign(transaction)
            if signed is None:
                return
            transaction = signed
        if transaction.state is State.SIGNED:
            mined = await self._send(transaction)
            if mined is None:
                return
            transaction = mined
        await self._settle(transaction)

    async def _sign(self, transaction: Transaction) -> Transaction | None:
        try:
            gas, fees, nonce = await asyncio.to_thread(self._quote, transaction.call)
        except CallReverted as reverted:
            # It would fail: better known now than paid for.
            await self._end(transaction, error=str(reverted))
            return None
        return await self._database.write(lambda c: self._commit(c, transaction, gas, fees, nonce))

    def _quote(self, call: Call) -> tuple[int, Fees, int]:
        gas = self._chain.estimate(self._address, call)
        return gas, self._chain.fees(), self._chain.nonce(self._address)

    def _commit(
        self, connection: Connection, transaction: Transaction, gas: int, fees: Fees, nonce: int
    ) -> Transaction:
        taken = store.take_nonce(connection, self._address, self._fence, nonce)
        call, chain_id = transaction.call, self._chain.chain_id
        signed = sign(self._account, call, chain_id=chain_id, nonce=taken, gas=gas, fees=fees)
        store.signed(connection, transaction.key, self._address, signed)
        return _stored(connection, transaction)

    async def _send(self, transaction: Transaction) -> Transaction | None:
        raw, tx_hash = transaction.raw, transaction.hash
        assert raw is not None
        receipt = await self._ask(lambda: self._chain.receipt(tx_hash))
        if receipt is None:
            try:
                await self._ask(lambda: self._chain.broadcast(raw))
            except NonceTooLow:
                self._log.error("another transaction took the nonce", key=transaction.key, nonce=transaction.nonce)
                await self._database.write(lambda c: store.unsigned(c, transaction.key))
                return None
            receipt = await self._ask(lambda: self._chain.receipt(tx_hash))
        return None if receipt is None else await self._mined(transaction, receipt)

    async def _mined(self, transaction: Transaction, receipt: Receipt) -> Transaction:
        error = "" if receipt.succeeded else f"the transaction {receipt.tx_hash} was reverted"

        def write(connection: Connection) -> Transaction:
            store.mined(connection, transaction.key, receipt.block_number, receipt.block_hash, error=error)
            return _stored(connection, transaction)

        return await self._database.write(write)

    async def _settle(self, transaction: Transaction) -> None:
        """Whether a mined transaction is final: deep enough, and still in the block in which it was."""
        receipt = await self._ask(lambda: self._chain.receipt(transaction.hash))
        if receipt is None or receipt.block_hash != transaction.block_hash:
            self._log.warning("a block was undone", key=transaction.key, block=transaction.block)
            await self._database.write(lambda c: store.unmined(c, transaction.key))
            return
        head = await self._ask(self._chain.head)
        if head.number - transaction.block >= self._confirmations:
            await self._end(transaction, error=transaction.error)

    async def _end(self, transaction: Transaction, *, error: str) -> None:
        await self._database.write(lambda c: store.ended(c, transaction.key, error=error))
        self._outcomes.labels("failed" if error else "final").inc()
        self._log.info("transaction ended", key=transaction.key, hash=transaction.hash, error=error)
        self.ended.tell()

    async def _ended(self, key: str) -> Transaction | None:
        found = await self._database.read(lambda c: store.get(c, key))
        return found if found is not None and found.over else None

    async def _ask(self, question: Callable[[], T]) -> T:
        return await asyncio.to_thread(question)


def _stored(connection: Connection, transaction: Transaction) -> Transaction:
    found = store.get(connection, transaction.key)
    assert found is not None
    return found
