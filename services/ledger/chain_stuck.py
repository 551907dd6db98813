"""Transactions that do not get on: which deserve a better offer, which can never be mined, and nonces that are missing.

What it does not know: how to sign, and what the transactions are for.  How long something has waited is kept in memory,
by this machine's monotonic clock: after a restart patience begins anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from services.kit import logs
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger.chain import Call, Chain, NodeRefused, Price
from services.ledger.signing import Fees, Patience, better, signed_terms
from services.ledger.store import chain as store
from services.ledger.store.chain import State, Transaction

BLOCKS = 2
"""That went by without it: a chain that stands still is not hurried by a better offer."""

MOST = 50  # missing nonces that are looked after at once


class Stuck:
    """Looks after what does not get on.  Its methods ask the node, and wait for it."""

    def __init__(self, chain: Chain, address: str, patience: Patience, confirmations: int, metrics: Metrics) -> None:
        self._chain, self._address, self._patience, self._confirmations = chain, address, patience, confirmations
        self._waiting: dict[str, tuple[float, int]] = {}
        self._doubted: dict[str, float] = {}
        self._unknown: dict[str, float] = {}
        self._too_dear: set[str] = set()
        self._said: set[str] = set()
        self._log = logs.logger("ledger")
        self._dear = metrics.gauge("transactions_priced_out", "Transactions that wait because gas costs over the cap")

    def look_again(self, pending: Sequence[Transaction]) -> None:
        """A new round over what has not ended: what is too dear is found out anew."""
        self._dear.set(len(self._too_dear))
        self._said, self._too_dear = self._too_dear, set()
        hashes = {transaction.hash for transaction in pending}
        self._waiting = {one: since for one, since in self._waiting.items() if one in hashes}
        self._doubted = {one: since for one, since in self._doubted.items() if one in hashes}
        planned = {transaction.key for transaction in pending if transaction.state is State.PLANNED}
        self._unknown = {one: since for one, since in self._unknown.items() if one in planned}

    def priced_out(self, key: str, price: Price) -> None:
        """It waits for the price to fall."""
        self._too_dear.add(key)
        if key not in self._said:
            self._log.error("gas costs more than OPENLEDGER_LEDGER_MAX_FEE_GWEI allows", key=key, base=price.base)

    def inestimable(self, key: str) -> bool:
        """Whether the node has refused for a while to say what this takes, and says it of others.

        Raises `NodeRefused` where it says it of none.
        """
        since = self._unknown.setdefault(key, time.monotonic())
        if time.monotonic() - since < self._patience.seconds:
            return False
        del self._unknown[key]
        self._chain.estimate(self._address, Call(self._address, b""))
        return True

    def better(self, transaction: Transaction, *, refused: bool) -> tuple[int, Fees] | None:
        """Gas and a better offer for what waits too long, if there is one below the cap.

        `refused`: the node does not even let it wait; where that is not for its offer, a better one would not help.
        """
        assert transaction.raw is not None
        now, head = time.monotonic(), self._chain.head().number
        since, block = self._waiting.setdefault(transaction.hash, (now, head))
        if now - since < self._patience.seconds or head - block < BLOCKS:
            return None
        gas, old = signed_terms(transaction.raw)
        price = self._chain.price()
        if refused and price.base <= old.max_fee:
            return None
        fees = better(old, price, self._patience.max_fee)
        if fees is None:
            self.priced_out(transaction.key, price)
            return None
        del self._waiting[transaction.hash]
        return gas, fees

    def dead(self, transaction: Transaction) -> bool:
        """Whether the chain has used the nonce up, and not for us: for good, and seen so for a while.

        A node that is behind the one that said so would show our own transaction as unknown.
        """
        assert transaction.nonce is not None
        deep = max(0, self._chain.head().number - self._confirmations)
        try:
            used = self._chain.nonce(self._address, block=deep) > transaction.nonce
        except NodeRefused:
            used = False  # it has forgotten that block's state
        self._chain.check()
        if not used:
            self._doubted.pop(transaction.hash, None)
            return False
        since = self._doubted.setdefault(transaction.hash, time.monotonic())
        return time.monotonic() - since >= self._patience.seconds


class Gaps:
    """Nonces below what is on its way that the chain waits for: after a reorganisation, or through other hands."""

    def __init__(self, database: Database, chain: Chain, address: str, metrics: Metrics) -> None:
        self._database, self._chain, self._address = database, chain, address
        self._log = logs.logger("ledger")
        self._missing = metrics.gauge("nonces_missing", "Nonces that the chain waits for and nobody signed")

    async def close(self, pending: Sequence[Transaction]) -> None:
        """Send again whatever was ever signed with such a nonce; say which nobody has signed."""
        sent = [t.nonce for t in pending if t.state is State.SIGNED and t.nonce is not None]
        first = await asyncio.to_thread(self._chain.nonce, self._address) if sent else 0
        missing = []
        for nonce in range(first, min(min(sent, default=0), first + MOST)):
            attempts = await self._database.read(partial(store.attempts, sender=self._address, nonce=nonce))
            if not attempts:
                missing.append(nonce)
                continue
            with suppress(NodeRefused):  # it has another of that nonce
                await asyncio.to_thread(self._chain.broadcast, attempts[0].raw)
        self._missing.set(len(missing))
        if missing:
            self._log.error(
                "a nonce is missing: send a transaction with it from the same account, to itself and of nothing",
                nonces=missing[:10],
            )
