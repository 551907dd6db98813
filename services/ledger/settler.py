"""Takes sealed epochs through the chain: redeem what was spent, propose the root, wait out the challenge, active.

Every step is a transaction under a key, or a look at the chain, so that it goes on wherever it was broken off, and goes
back where the chain did: an epoch whose root's transaction is no longer final is sealed, and no more.  What it does not
know: which receipts an epoch holds (`closing`, `bundle`) and how transactions get mined (`chain_writer`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection

from openledger.claims import ClaimTree
from services.kit import logs
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.kit.operations import Operations
from services.ledger import calls, leaves, struck, wire
from services.ledger.bundle import Bundles
from services.ledger.chain import Chain, ChainError
from services.ledger.chain_writer import ChainWriter
from services.ledger.changes import Changes
from services.ledger.checks import Checks
from services.ledger.leaves import Leaves
from services.ledger.pen import Pen
from services.ledger.reconcile import Reconciliation
from services.ledger.redeem import Redeemer, late_batch
from services.ledger.settle import PAGE
from services.ledger.store import chain as sent_store
from services.ledger.store import epochs, leaf_pages
from services.ledger.store.chain import State as Sent
from services.ledger.store.chain import Transaction
from services.ledger.store.epochs import UNDONE, Epoch, State
from services.ledger.struck import Struck

T = TypeVar("T")


class Settler:
    """Drives one epoch at a time, while this process has the pen.  Run `run` for ever; `wake` after a sealing."""

    def __init__(
        self,
        database: Database,
        chain: Chain,
        writer: ChainWriter,
        pen: Pen,
        operations: Operations,
        bundles: Bundles,
        metrics: Metrics,
        checks: Checks,
        reconciliation: Reconciliation,
        *,
        confirmations: int,
        most: int,
        room: int,
        credit: int,
        poll_seconds: float,
    ) -> None:
        self._database, self._chain, self._writer, self._pen = database, chain, writer, pen
        self._operations, self._bundles = operations, bundles
        self._checks, self._reconciliation = checks, reconciliation
        self._confirmations, self._most, self._poll = confirmations, most, poll_seconds
        how: Any = {"room": room, "credit": credit, "poll_seconds": poll_seconds}
        self._redeemer = Redeemer(database, chain, writer, pen, metrics, **how)
        self._struck = Struck(chain, writer, pen.address, metrics, confirmations=confirmations)
        self._wanted = Changes()
        self._said = self._looked_at = ""
        self._log = logs.logger("ledger")
        self._held_up = metrics.gauge("epochs_held_up", "Sealed epochs that cannot go on; GetEpoch says why")
        self._underfunded = metrics.gauge(
            "underfunded_open", "Atomic units that a sealed root has too little behind it"
        )

    def wake(self) -> None:
        """There is something to settle."""
        self._wanted.tell()

    async def run(self) -> None:
        """Settle, for ever."""
        while True:
            try:
                while await self.step():
                    pass
            except ChainError as error:
                self._log.warning("the chain cannot be used", error=str(error))
            await self._wanted.next(self._poll)

    async def step(self) -> bool:
        """Move on what can move; says whether to look again at once."""
        if await self._go_back():
            return True
        await self._redeemer.leaving()
        epoch = await self._database.read(lambda c: epochs.oldest(c, State.SEALED, State.PROPOSED))
        if epoch is None:
            return False
        if epoch.state is State.SEALED:
            return await self._redeemer.planned(epoch) and await self._propose(epoch)
        return await self._activate(epoch)

    async def _go_back(self) -> bool:
        """Whether the newest root is no longer what it was: taken back by the chain, or struck out though it paid."""
        newest = await self._database.read(lambda c: epochs.newest(c, State.PROPOSED, State.ACTIVE))
        if newest is None:
            return False
        sent, there = await self._transaction(newest), await self._is_there(newest)
        # One that failed, and whose root is there, was sent by an earlier life of the database.
        if sent is None or sent.state is Sent.FINAL or (sent.state is Sent.FAILED and there):
            paid = newest.state is State.ACTIVE and not there
            return paid and await self._struck.out(newest, sent) and await self._vetoed(newest)
        await self._advance(newest, State.SEALED, activate_time=0)
        self._log.error("the chain took a root back", epoch=newest.key)
        return True

    async def _propose(self, epoch: Epoch) -> bool:
        sent = await self._transaction(epoch)
        if (sent is None or sent.state is Sent.FAILED) and not await self._is_there(epoch):
            if not await self._is_clear(epoch):
                return False
            epoch = await self._sound(epoch)
            if not await self._funded(epoch):
                return False
            await self._writer.plan(_key(epoch), await self._proposal(epoch), again=True)
        if sent is not None or not await self._is_there(epoch):
            sent = await self._writer.wait(_key(epoch), self._poll)
            if sent is None:
                return False
            if sent.state is Sent.FAILED and not await self._is_there(epoch):
                await self._trouble(epoch, f"the root of epochs/{epoch.number} was not taken: {sent.error}")
                return False
        found = await self._ask(lambda: self._chain.epoch(epoch.number))
        if found is None or found.root.hex() != epoch.root:
            return await self._missing(epoch)
        await self._advance(epoch, State.PROPOSED, activate_time=found.active_at)
        return True

    async def _funded(self, epoch: Epoch) -> bool:
        """Whether the distributor has what the root promises; what can be done about it is done."""
        if await self._redeemer.under_way():
            return False
        missing = epoch.total - await self._ask(self._chain.funded)
        self._underfunded.set(max(0, missing))
        if missing <= 0:
            return True
        await self._trouble(
            epoch,
            f"the distributor has {missing} too little for the root of epochs/{epoch.number}: payers whose "
            "spending the escrow did not give must sign a new authorisation, or bring in what the chain took back of "
            "their deposits, or somebody brings in the rest by RewardsDistributor.fund",
        )
        await self._redeemer.late(epoch)
        return False

    async def _is_clear(self, epoch: Epoch) -> bool:
        """Whether nothing is in the epoch's way: books that are wrong, another root, or a chain that is not known."""
        trouble = self._checks.in_the_way
        if trouble == "":
            trouble = await self._struck.back(epoch) or await self._bundles.waits(epoch)
            trouble = trouble or await self._reconciliation.step()
            trouble = trouble or await self._database.read(lambda c: struck.below(c, epoch))
        if trouble:
            await self._trouble(epoch, trouble)
        return trouble == ""

    async def _sound(self, epoch: Epoch) -> Epoch:
        """The epoch with the leaves that its journals give: books that were wrong may have been sealed.

        Deriving and comparing take long, and whoever thinks in the midst of a transaction that locks the pen is undone:
        so that is done outside of it, and what is wrong is written only if this process still may.
        """
        if self._looked_at == epoch.key:
            return epoch

        def look(connection: Connection) -> tuple[Leaves, bool]:
            found = leaves.derived(connection, epoch, self._most)
            given = leaf_pages.leaves(connection, epoch.number), leaf_pages.waiting(connection, epoch.number)
            return found, given == (found.promised, found.waiting)

        found, right = await self._database.read(look)
        if not right:
            epoch = await self._sealed_again(epoch, found)
        self._looked_at = epoch.key
        return epoch

    async def _sealed_again(self, epoch: Epoch, found: Leaves) -> Epoch:
        at = self._chain.contracts.distributor
        tree = await self._ask(lambda: ClaimTree.build(self._chain.chain_id, at, found.promised))
        changed = replace(
            epoch,
            root=tree.root.hex(),
            total=tree.total,
            leaf_count=len(tree.amounts),
            waiting=sum(found.waiting.values()),
            bundle=None,
        )

        def write(connection: Connection) -> None:
            self._pen.check(connection)
            epochs.reseal(connection, changed, found.promised, found.waiting, tree.subtrees(PAGE))

        await self._database.write(write)
        self._log.critical("sealed from wrong books: sealed again from the journals", epoch=epoch.key)
        return changed

    async def _proposal(self, epoch: Epoch) -> Any:
        """The root with its bundle published before it is named on chain."""
        root, log_root = bytes.fromhex(epoch.root), bytes.fromhex(epoch.log_root)
        at, uri = self._chain.contracts, f"sha256:{await self._bundles.publish(epoch, self._pen)}"
        return calls.propose_root(at, epoch.number, root, log_root, epoch.total, epoch.leaf_count, uri)

    async def _activate(self, epoch: Epoch) -> bool:
        found = await self._ask(lambda: self._chain.epoch(epoch.number))
        if found is None or found.root.hex() != epoch.root:
            return await self._missing(epoch)
        # By a block that counts: a newer one, which may not even be here yet, may have struck the root out.
        deep = (await self._ask(self._chain.head)).number - self._confirmations if self._confirmations else None
        if await self._ask(lambda: self._chain.active_epoch(deep)) < epoch.number:
            return False
        await self._advance(epoch, State.ACTIVE, activate_time=found.active_at)
        return True

    async def _missing(self, epoch: Epoch) -> bool:
        """The root's transaction is final and the node shows no such root: it was struck out, if the chain says so."""
        if await self._struck.out(epoch, await self._transaction(epoch)):
            return await self._vetoed(epoch)
        await self._trouble(
            epoch,
            f"the node shows neither the root of epochs/{epoch.number}, whose transaction is final, nor that it was "
            "struck out for good: it is behind, or the strike is new, or it contradicts itself",
        )
        return False

    async def _transaction(self, epoch: Epoch) -> Transaction | None:
        return await self._database.read(lambda c: sent_store.get(c, _key(epoch)))

    async def _is_there(self, epoch: Epoch) -> bool:
        """Whether the chain holds the root now."""
        found = await self._ask(lambda: self._chain.epoch(epoch.number))
        return found is not None and found.root.hex() == epoch.root

    async def _advance(self, epoch: Epoch, state: State, **values: int) -> None:
        await self._ask(self._chain.check)  # it was of this chain that the answer was

        def write(connection: Connection) -> None:
            self._pen.check(connection)
            sent = sent_store.get(connection, _key(epoch))
            sent_hash = sent.hash if sent else ""
            now = epochs.advance(connection, epoch, state, transaction=sent_hash, held_up="", **values)
            self._operations.report(connection, epoch.operation, wire.epoch(now))
            if state is not State.SEALED:
                for batch in (late_batch(epoch), UNDONE):
                    epochs.drop_batch(connection, batch)
            if state is State.ACTIVE:
                self._operations.finish(connection, epoch.operation, wire.epoch(now))

        await self._database.write(write)
        self._held_up.set(0)
        self._said = ""
        self._log.info("epoch", number=epoch.number, state=str(state))

    async def _vetoed(self, epoch: Epoch) -> bool:
        """The root was struck out: its receipts wait for the next sealing, under the same number.

        Where a later epoch was sealed on it, they are sealed once more as they were (`closing`).
        """
        await self._ask(self._chain.check)

        def write(connection: Connection) -> None:
            self._pen.check(connection)
            epochs.advance(connection, epoch, State.VETOED, held_up="")
            newest = epochs.newest(connection)
            if newest is not None and newest.number == epoch.number:
                epochs.reopen(connection, epoch.number)
            self._operations.fail(connection, epoch.operation, struck.fault(epoch))

        await self._database.write(write)
        self._looked_at = ""
        self._log.error("epoch vetoed", number=epoch.number)
        return True

    async def _trouble(self, epoch: Epoch, what: str) -> None:
        """What an operator must look at; said once, not at every look."""
        self._held_up.set(1)
        if what != self._said:
            await self._database.write(self._pen.checked(lambda c: epochs.hold_up(c, epoch.number, what)))
            self._said = what
            self._log.error("an epoch cannot go on", what=what)

    async def _ask(self, question: Callable[[], T]) -> T:
        return await asyncio.to_thread(question)


def _key(epoch: Epoch) -> str:
    """Of the transaction that proposes this sealing's root."""
    return f"root:{epoch.key}"
