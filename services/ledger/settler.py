"""Takes sealed epochs through the chain: redeem what was spent, propose the root, wait out the challenge, active.

Every step is a transaction under a key, or a look at the chain, so that it goes on wherever it was broken off.  What it
does not know: which receipts an epoch holds (`closing`, `bundle`) and how transactions get mined (`chain_writer`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection

from openledger import canonical
from openledger.claims import ClaimTree
from openledger.spending import SpendingAuthorisation
from services.kit import logs
from services.kit.database import Database
from services.kit.errors import Fault, precondition
from services.kit.metrics import Metrics
from services.kit.operations import Operations
from services.ledger import calls, leaves, wire
from services.ledger.bundle import Bundles
from services.ledger.calls import Redemption
from services.ledger.chain import Chain, ChainUnavailable, NodeRefused
from services.ledger.chain_writer import ChainWriter
from services.ledger.changes import Changes
from services.ledger.check import Checks
from services.ledger.store import books, epochs, payers
from services.ledger.store import chain as sent_store
from services.ledger.store.chain import State as Sent
from services.ledger.store.chain import Transaction
from services.ledger.store.epochs import Epoch, State
from services.ledger.store.payers import Unredeemed

T = TypeVar("T")


class Settler:
    """Drives one epoch at a time.  Run `run` for ever; `wake` after an epoch was sealed."""

    def __init__(
        self,
        database: Database,
        chain: Chain,
        writer: ChainWriter,
        operations: Operations,
        bundles: Bundles,
        metrics: Metrics,
        checks: Checks,
        *,
        most: int,
        poll_seconds: float,
    ) -> None:
        self._checks, self._most = checks, most
        self._database, self._chain, self._writer = database, chain, writer
        self._operations, self._bundles, self._poll = operations, bundles, poll_seconds
        self._wanted = Changes()
        self._said = self._looked_at = ""
        self._log = logs.logger("ledger")
        self._held_up = metrics.gauge("epochs_held_up", "Sealed epochs that cannot go on; GetEpoch says why")
        self._unredeemable = metrics.counter("unredeemable_total", "Payers whose spending the escrow would not give")
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
            except (ChainUnavailable, NodeRefused) as error:
                self._log.warning("the chain does not answer", error=str(error))
            await self._wanted.next(self._poll)

    async def step(self) -> bool:
        """Move on what can move; says whether to look again at once."""
        # Who takes money out of escrow pays first for what was spent: the withdrawal's delay is there for this.
        await self._redeem_alone(await self._database.read(payers.leaving))
        epoch = await self._database.read(lambda c: epochs.oldest(c, State.SEALED, State.PROPOSED))
        if epoch is None:
            return False
        if epoch.state is State.SEALED:
            return await self._redeem(epoch) and await self._propose(epoch)
        return await self._activate(epoch)

    async def _redeem(self, epoch: Epoch) -> bool:
        for batch in await self._database.read(lambda c: epochs.batches(c, f"epoch/{epoch.key}/")):
            if not await self._batch(epoch, batch):
                return False
        return True

    async def _redeem_alone(self, lines: Sequence[Unredeemed]) -> None:
        """Each in a transaction of its own, tried once for what was signed: another signature is another try."""
        for line in lines:
            signed = canonical.sha256(line.signature)[:16]
            transaction = await self._sent(f"redeem:alone/{line.payer}/{line.spent}/{signed}", [line])
            if transaction is not None and transaction.state is Sent.FINAL:
                await self._database.write(lambda c, line=line: _redeemed(c, [line]))  # type: ignore[misc]

    async def _batch(self, epoch: Epoch, batch: str) -> bool:
        """Redeem a batch's lines; says whether all that can be done was done."""
        lines = await self._database.read(lambda c: epochs.redemptions(c, batch))
        whole = await self._sent(f"redeem:{batch}", lines)
        if whole is None:
            return False
        if whole.state is Sent.FINAL:
            await self._database.write(lambda c: _finish(c, epoch, batch, lines, []))
            return True
        # All or nothing: one line that cannot be redeemed must not keep the others.
        good, bad = [], []
        for line in lines:
            alone = await self._sent(f"redeem:{batch}/{line.payer}", [line])
            if alone is None:
                return False
            if alone.state is Sent.FINAL:
                good.append(line)
            else:
                bad.append(line)
                self._unredeemable.inc()
                self._log.error("spending cannot be redeemed", payer=line.payer, spent=line.spent, error=alone.error)
        await self._database.write(lambda c: _finish(c, epoch, batch, good, bad))
        return True

    async def _sent(self, key: str, lines: Sequence[Unredeemed]) -> Transaction | None:
        """The ended transaction that redeems those lines, or None while it is on its way."""
        call = calls.redeem(self._chain.contracts, [_redemption(line) for line in lines])
        transaction = await self._writer.plan(key, call)
        if not transaction.over:
            return await self._writer.wait(key, self._poll)
        return transaction

    async def _propose(self, epoch: Epoch) -> bool:
        found = await self._ask(lambda: self._chain.epoch(epoch.number))
        key = f"root:{epoch.key}"
        if found is None or found.root.hex() != epoch.root:
            if self._checks.trouble is None:
                return False  # the books are being looked at
            if self._checks.trouble:
                await self._trouble(epoch, self._checks.trouble)
                return False
            epoch = await self._sound(epoch)
            missing = epoch.total - await self._ask(self._chain.funded)
            self._underfunded.set(max(0, missing))
            if missing > 0:
                await self._trouble(
                    epoch,
                    f"the distributor has {missing} too little for the root of epochs/{epoch.number}: payers whose "
                    "spending the escrow did not give must sign a new authorisation, or somebody brings in the rest by "
                    "RewardsDistributor.fund",
                )
                await self._redeem_alone(await self._database.read(lambda c: _late(c, epoch)))
                return False
            await self._writer.plan(key, await self._proposal(epoch), again=True)
            ended = await self._writer.wait(key, self._poll)
            if ended is None:
                return False
            if ended.state is Sent.FAILED:
                await self._trouble(epoch, f"the root of epochs/{epoch.number} was not taken: {ended.error}")
                return False
            found = await self._ask(lambda: self._chain.epoch(epoch.number))
        if found is None or found.root.hex() != epoch.root:
            return await self._vetoed(epoch)
        await self._advance(epoch, State.PROPOSED, key, activate_time=found.active_at)
        return True

    async def _sound(self, epoch: Epoch) -> Epoch:
        """The epoch with the leaves that its journals give: books that were wrong may have been sealed."""
        if self._looked_at == epoch.key:
            return epoch

        def right(connection: Connection) -> Epoch:
            found = leaves.derived(connection, epoch, self._most)
            given = epochs.leaves(connection, epoch.number), epochs.waiting(connection, epoch.number)
            if given == (found.promised, found.waiting):
                return epoch
            tree = ClaimTree.build(self._chain.chain_id, self._chain.contracts.distributor, found.promised)
            changed = replace(
                epoch,
                root=tree.root.hex(),
                total=tree.total,
                leaf_count=len(tree.amounts),
                waiting=sum(found.waiting.values()),
                bundle=None,
            )
            epochs.reseal(connection, changed, found.promised, found.waiting)
            return changed

        changed = await self._database.write(right)
        if changed is not epoch:
            self._log.critical("sealed from wrong books: sealed again from the journals", epoch=epoch.key)
        self._looked_at = epoch.key
        return changed

    async def _proposal(self, epoch: Epoch) -> Any:
        """The root with its bundle published before it is named on chain."""
        digest = await self._bundles.publish(epoch)
        root, log_root = bytes.fromhex(epoch.root), bytes.fromhex(epoch.log_root)
        at, uri = self._chain.contracts, f"sha256:{digest}"
        return calls.propose_root(at, epoch.number, root, log_root, epoch.total, epoch.leaf_count, uri)

    async def _activate(self, epoch: Epoch) -> bool:
        found = await self._ask(lambda: self._chain.epoch(epoch.number))
        if found is None or found.root.hex() != epoch.root:
            return await self._vetoed(epoch)
        if await self._ask(self._chain.active_epoch) < epoch.number:
            return False
        await self._advance(epoch, State.ACTIVE, f"root:{epoch.key}", activate_time=found.active_at)
        return True

    async def _advance(self, epoch: Epoch, state: State, key: str, **values: int) -> None:
        def write(connection: Connection) -> None:
            sent = sent_store.get(connection, key)
            sent_hash = sent.hash if sent else ""
            now = epochs.advance(connection, epoch, state, transaction=sent_hash, held_up="", **values)
            epochs.drop_batch(connection, _late_batch(epoch))
            self._operations.report(connection, epoch.operation, wire.epoch(now))
            if state is State.ACTIVE:
                self._operations.finish(connection, epoch.operation, wire.epoch(now))

        await self._database.write(write)
        self._held_up.set(0)
        self._said = ""
        self._log.info("epoch", number=epoch.number, state=str(state))

    async def _vetoed(self, epoch: Epoch) -> bool:
        """The root was struck out: its receipts wait for the next sealing, under the same number."""
        fault: Fault = precondition(
            "EPOCH_VETOED",
            f"the root of epochs/{epoch.number} was struck out: vetoed, or challenged with success; find out why, then "
            "close the epoch again",
            epoch=f"epochs/{epoch.number}",
        )

        def write(connection: Connection) -> None:
            epochs.advance(connection, epoch, State.VETOED, held_up="")
            epochs.reopen(connection, epoch.number)
            self._operations.fail(connection, epoch.operation, fault)

        await self._database.write(write)
        self._log.error("epoch vetoed", number=epoch.number)
        return True

    async def _trouble(self, epoch: Epoch, what: str) -> None:
        """What an operator must look at; said once, not at every look."""
        self._held_up.set(1)
        if what != self._said:
            self._said = what
            await self._database.write(lambda c: epochs.hold_up(c, epoch.number, what))
            self._log.error("an epoch cannot go on", what=what)

    async def _ask(self, question: Callable[[], T]) -> T:
        return await asyncio.to_thread(question)


def _redemption(line: Unredeemed) -> Redemption:
    return Redemption(SpendingAuthorisation(line.payer, line.cap, line.deadline), line.spent, line.signature)


def _finish(
    connection: Connection, epoch: Epoch, batch: str, good: Sequence[Unredeemed], bad: Sequence[Unredeemed]
) -> None:
    """A batch has run its course; what could not be redeemed is remembered for `_late`."""
    _redeemed(connection, good)
    epochs.drop_batch(connection, batch)
    if bad:
        epochs.plan_redemption(connection, _late_batch(epoch), bad)


def _late(connection: Connection, epoch: Epoch) -> list[Unredeemed]:
    """What the epoch's payers still owe of those who could not be redeemed, as they have signed it by now."""
    wanted = {line.payer for line in epochs.redemptions(connection, _late_batch(epoch))}
    return [line for line in payers.unredeemed(connection) if line.payer in wanted]


def _late_batch(epoch: Epoch) -> str:
    return f"late/{epoch.key}"


def _redeemed(connection: Connection, lines: Sequence[Unredeemed]) -> None:
    # Whoever locks several payers locks the books first: so nobody waits for somebody who waits for them.
    books.lock(connection)
    for line in lines:
        payers.lock(connection, line.payer)
        payers.set_redeemed(connection, line.payer, line.spent)
