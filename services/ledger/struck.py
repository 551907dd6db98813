"""Roots that were struck out, and those that the chain brought back by taking back what had struck them.

Such a root stands in the way of the one that was sealed in its stead, and pays out once its window is over.  Where the
ledger's own key is the guardian's it is vetoed again; else people must.
"""

from __future__ import annotations

import asyncio

from sqlalchemy import Connection

from services.kit.errors import Fault, precondition
from services.kit.metrics import Metrics
from services.ledger import calls
from services.ledger.chain import Chain
from services.ledger.chain_writer import ChainWriter
from services.ledger.store import epochs
from services.ledger.store.chain import Transaction
from services.ledger.store.epochs import Epoch, State

REASON = "struck out before; the chain took that back"


class Struck:
    """Looks for them.  `sender`: the address that the ledger sends from."""

    def __init__(self, chain: Chain, writer: ChainWriter, sender: str, metrics: Metrics, *, confirmations: int) -> None:
        self._chain, self._writer, self._sender, self._confirmations = chain, writer, sender, confirmations
        self._back = metrics.gauge("struck_roots_back", "Roots that were struck out and are pending again")

    async def out(self, epoch: Epoch, sent: Transaction | None) -> bool:
        """Whether the chain says so of the root that was sent, as deep as anything must be to count."""
        head = await asyncio.to_thread(self._chain.head)
        since, deep = sent.block if sent else self._chain.contracts.block, head.number - self._confirmations
        strikes = await asyncio.to_thread(lambda: list(self._chain.strikes(since, deep))) if since <= deep else []
        return any(strike.first <= epoch.number <= strike.last for strike in strikes)

    async def back(self, epoch: Epoch) -> str:
        """What is in the place of a sealed epoch's root, and what is done about it; empty where nothing is."""
        found = await asyncio.to_thread(self._chain.epoch, epoch.number)
        other = found is not None and found.root.hex() != epoch.root
        self._back.set(other)
        if found is None or not other:
            return ""
        words = f"another root {found.root.hex()} of epochs/{epoch.number}, which was struck out, is on chain again"
        if await asyncio.to_thread(self._chain.guardian) != self._sender:
            return f"{words}: the guardian must veto it before {found.active_at} (Unix s), when it begins to pay"
        call = calls.veto(self._chain.contracts, epoch.number, REASON)
        # Under the root's name: should it come back once more, it is vetoed once more.
        await self._writer.plan(f"veto:{epoch.key}:{found.root.hex()}", call, again=True)
        return f"{words}: it is vetoed again"


def below(connection: Connection, epoch: Epoch) -> str:
    """Which root the epoch's is built on that was struck out; empty where none was."""
    struck = epochs.oldest(connection, State.VETOED)
    if struck is None or struck.number > epoch.number:
        return ""
    return f"the root of epochs/{struck.number}, on which this one is built, was struck out: close that epoch again"


def fault(epoch: Epoch) -> Fault:
    """What its operation ends with."""
    return precondition(
        "EPOCH_VETOED",
        f"the root of epochs/{epoch.number} was struck out: vetoed, or challenged with success; find out why, then "
        "close the epoch again",
        epoch=f"epochs/{epoch.number}",
    )
