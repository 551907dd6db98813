"""That the chain has what the books say that it has, as of the newest block whose events are journaled.

Looked at all the time, and before each root.  What the escrow and the distributor hold beyond the books is nobody's
harm: anybody may send them tokens.  What they lack is a loss, or events that the ledger was not told of.  What this
does not know: which of both, and whose.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from services.kit import logs
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import journal
from services.ledger.chain import Chain, ChainError, NodeRefused, Totals
from services.ledger.store import books, events, payers
from services.ledger.store import chain as store

SECONDS = 60.0
"""How often it is looked at."""


@dataclass(frozen=True)
class Said:
    """What the books say of the chain at a block."""

    block: int
    block_hash: str
    totals: Totals


class Reconciliation:
    """Compares books and chain.  Run `run` for ever; while `trouble` says something, no root is proposed."""

    def __init__(self, database: Database, chain: Chain, metrics: Metrics) -> None:
        self._database, self._chain = database, chain
        self.trouble = ""
        self._log = logs.logger("ledger")
        self._off = metrics.gauge("chain_differs_open", "Atomic units by which the chain has not what the books say")
        self._unredeemed = metrics.gauge("unredeemed_open", "Atomic units spent that the escrow has still to give")
        self._lapsed = metrics.gauge("lapsed_open", "Of these, what no authorisation gives any more")
        self._lost = metrics.gauge("shortfall_open", "Atomic units that left escrow beyond what was unspent: a loss")

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self.step()
            except ChainError as error:
                self._log.warning("the chain cannot be compared with the books", error=str(error))
            await asyncio.sleep(SECONDS)

    async def step(self) -> str:
        """What is wrong now.  Where the chain cannot be asked about that block, what was wrong before."""
        await self._tell()
        said = await self._database.read(partial(_said, contract=self._chain.contracts.escrow))
        if said is None:
            return self.trouble
        try:
            there = await asyncio.to_thread(self._chain.totals, said.block)
        except NodeRefused as refused:
            self._log.warning("the node does not know that block's state", block=said.block, error=str(refused))
            return self.trouble
        block = await asyncio.to_thread(self._chain.block, said.block)
        if block is not None and block.hash == said.block_hash:
            self._compare(said.block, said.totals, there)
        return self.trouble

    def _compare(self, block: int, here: Totals, there: Totals) -> None:
        differ = {
            "the escrow holds {} too little": max(0, here.escrow - there.escrow),
            "the distributor was brought {} too little": max(0, here.funded - there.funded),
            "{} more was claimed": max(0, there.claimed - here.claimed),
            "{} less was claimed": max(0, here.claimed - there.claimed),
        }
        wrong = [words.format(amount) for words, amount in differ.items() if amount]
        before, self.trouble = self.trouble, ""
        if wrong:
            self.trouble = f"by the chain at block {block} {', '.join(wrong)} for what the books say: see operating.md"
        if self.trouble != before:
            self._log.critical("books and chain", trouble=self.trouble or "agree again")
        self._off.set(max(differ.values()))

    async def _tell(self) -> None:
        owed = await self._database.read(payers.owed)
        lost = await self._database.read(lambda c: books.book(c, journal.SHORTFALL).balance)
        self._unredeemed.set(owed.unredeemed)
        self._lapsed.set(owed.lapsed)
        self._lost.set(-lost)


def _said(connection: Connection, contract: str) -> Said | None:
    place = store.followed(connection, contract)
    if place is None or events.any_after(connection, place[0]):
        return None  # the chain is read again: the books know more than that block
    redeemed = payers.redeemed(connection)
    came = -books.book(connection, journal.ESCROW).balance
    claimed = books.book(connection, journal.CLAIMED).balance
    return Said(*place, Totals(came - redeemed, redeemed, claimed))
