"""The ledger's chain side on a real anvil, step by step, and a chain that can be made to go back.

Everything that the service runs in the background is here a method that moves on by one: so a schedule says in which
order things happen, and blocks can go between any two of them.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

import services.ledger
from openledger import spending
from openledger.abi import encode_call
from openledger.artifacts import ArtifactStore
from openledger.claims import ClaimTree
from openledger.client import Wallet
from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database
from services.kit.errors import Fault
from services.kit.idempotency import Idempotency
from services.kit.metrics import Metrics
from services.kit.operations import Operations
from services.ledger import calls, spend
from services.ledger.admit import Admitted
from services.ledger.book import BOOKED, OWED, book_all
from services.ledger.bundle import Bundles
from services.ledger.calls import ClaimLeaf
from services.ledger.chain import Call, ChainUnavailable
from services.ledger.chain import Epoch as Root
from services.ledger.chain_follower import ChainFollower
from services.ledger.chain_node import Node
from services.ledger.chain_rpc import RpcChain
from services.ledger.chain_writer import ChainWriter
from services.ledger.checks import Checks
from services.ledger.closing import Closing
from services.ledger.deploy import deploy
from services.ledger.lease import Lease, Times
from services.ledger.pen import Pen
from services.ledger.reconcile import Reconciliation
from services.ledger.relay import Asked
from services.ledger.settler import Settler
from services.ledger.signing import Patience, sign
from services.ledger.store import books, epochs, events, leaf_pages, payers
from services.ledger.store import chain as sent
from services.ledger.store.epochs import State
from services.ledger.store.tables import METADATA
from tests.chains import CHAIN_ID, OPEN, OPERATOR, STRANGER, TERMS, mined, send
from tests.ledger_and_chain import Agreement
from tests.ledger_world import EARNERS, a_receipt

FAR = 4_000_000_000
TIMES = Times(lease=10_000, grace=0, redeem=0)
GAS = 400_000
WINDOW, TICK = 12, 3
"""Seconds in which a root can be struck out, and from one block that is mined here to the next."""


class Ledger:
    """The parts that meet the chain, on a database (SQLite, if no other is named) and contracts of their own."""

    def __init__(self, folder: Path, url: str, *, confirmations: int, database: str = "") -> None:
        self.url, self.confirmations = url, confirmations
        terms = replace(TERMS, treasury=STRANGER.address, withdraw_delay=0, challenge_window=WINDOW)
        node = Node.connect(url, CHAIN_ID)
        self.chain = RpcChain(node, deploy(node, OPERATOR, terms, folder / "contracts.json"))
        self.at = self.chain.contracts
        self.database = Database(database or f"sqlite:///{folder}/ledger.db")
        self.database.migrate(Path(services.ledger.__file__).parent / "migrations")
        self.metrics = Metrics("ledger")
        self.pen = Pen(self.database, OPERATOR.address.lower(), "one", self.metrics, seconds=600)
        assert self.pen.take()
        how: Any = {"confirmations": confirmations, "poll_seconds": 0.01}
        patience = Patience(10**12, 60)
        self.writer = ChainWriter(self.database, self.chain, OPERATOR, self.pen, self.metrics, patience=patience, **how)
        self.follower = ChainFollower(self.database, self.chain, self.pen, self.metrics, quiet=False, **how)
        operations, idempotency = Operations(self.database, METADATA, "ledger"), Idempotency(METADATA)
        artifacts = ArtifactStore(folder / "artifacts")
        most = self.chain.max_epoch_increase()
        bundles = Bundles(self.database, self.chain, artifacts, self.metrics, folder / "work", most=most, lag=3600)
        self.checks = Checks(self.database, self.metrics, seconds=3600, whole_seconds=86_400)
        self.settler = Settler(
            self.database,
            self.chain,
            self.writer,
            self.pen,
            operations,
            bundles,
            self.metrics,
            self.checks,
            Reconciliation(self.database, self.chain, self.metrics),
            most=most,
            room=TIMES.redeem,
            credit=OPEN,
            **how,
        )
        self.closing = Closing(
            self.database,
            self.chain,
            self.settler,
            operations,
            idempotency,
            self.metrics,
            batch=2,
            most=most,
            checks=self.checks,
        )

    def close(self) -> None:
        self.database.close()
        self.chain.close()

    def read(self, query: Any) -> Any:
        return self.database.read_now(query)

    def write(self, act: Any) -> Any:
        def locked(connection: Any) -> Any:
            books.lock(connection)
            return act(connection)

        return self.database.write_now(locked)

    def balance(self, name: str) -> int:
        return self.read(lambda c: books.book(c, name)).balance

    async def follow(self) -> None:
        while await self.follower.step():
            pass

    async def settle(self) -> None:
        """As the service does, which tries again when the chain is known."""
        await self.checks.step()
        with suppress(ChainUnavailable):
            for _ in range(4):
                if not await self.settler.step():
                    return

    async def step(self) -> None:
        """As a moment of the running service."""
        await self.writer.step()
        await self.follow()
        await self.settle()


class World:
    """A ledger, payers with money, and somebody who does things to the chain."""

    def __init__(self, ledger: Ledger, draw: random.Random) -> None:
        self.ledger, self.draw, self.chain = ledger, draw, ledger.chain
        self.payers = [Wallet(f"0x{draw.getrandbits(248):064x}") for _ in range(2)]
        self.fees: Counter[str] = Counter()
        self.leases: list[tuple[Wallet, Lease]] = []
        self.asked = 0
        for _ in range(1 + ledger.confirmations):
            self.mine()
        send(self.chain, calls.approve(ledger.at, ledger.at.escrow, 10**6 * OPEN), STRANGER)
        send(self.chain, calls.approve(ledger.at, ledger.at.distributor, 10**5 * OPEN), STRANGER)
        for payer in self.payers:
            self.rpc("anvil_setBalance", payer.address, hex(10**20))
            self._authorise(payer)
        self.mine()
        self.floor = self.chain.head().number

    def _authorise(self, payer: Wallet) -> None:
        granted = spending.SpendingAuthorisation(payer.address, 10**6 * OPEN, FAR)
        signature = payer.sign(spending.authorisation_message(CHAIN_ID, self.ledger.at.escrow, granted))

        def act(connection: Any) -> None:
            payers.lock(connection, payer.address)
            payers.authorise(connection, payer.address, granted.cap, FAR, signature)

        self.ledger.write(act)

    def rpc(self, method: str, *params: Any) -> Any:
        answer = self.chain.web3.provider.make_request(method, list(params))  # type: ignore[arg-type]
        assert "error" not in answer, answer
        return answer["result"]

    def mine(self) -> None:
        self.rpc("evm_increaseTime", TICK)
        self.rpc("evm_mine")

    def others(self, account: LocalAccount, call: Call) -> None:
        """A transaction that is none of the ledger's, whether it succeeds or not."""
        nonce = self.chain.nonce(account.address)
        signed = sign(account, call, chain_id=CHAIN_ID, nonce=nonce, gas=GAS, fees=self.chain.fees())
        mined(self.chain, self.chain.broadcast(signed.raw))

    # --- what happens

    async def act(self) -> None:
        often, seldom = (
            (self.deposit, self.lease, self.answer, self.close, self.claim),
            (self.reverted, self.ask_back, self.take_out, self.go_on, self.go_on, *self.stops),
        )
        does = self.draw.choice((*often, self.answer, *often, *seldom, self.claimed, self.anchor))
        await does(self.draw.choice(self.payers))

    async def deposit(self, payer: Wallet) -> None:
        self.others(STRANGER, calls.deposit_for(self.ledger.at, payer.address, self.draw.randrange(1, 10) * OPEN))

    async def reverted(self, payer: Wallet) -> None:
        """A deposit of tokens that the payer does not have: mined, and nothing came."""
        self.others(_key(payer), Call(self.ledger.at.escrow, encode_call("InferenceEscrow", "deposit", OPEN)))

    async def lease(self, payer: Wallet) -> None:
        """Set aside for an answer to come: blocks may go before its receipt is there."""
        amount = self.draw.randrange(1, 3 * OPEN)
        try:
            lease = self.ledger.write(lambda c: spend.acquire(c, payer.address, amount, TIMES, time.time()))
        except Fault as fault:
            _expected(fault, "INSUFFICIENT_BALANCE")
            return
        self.leases.append((payer, lease))

    async def answer(self, payer: Wallet) -> None:
        """A receipt under the oldest lease there is."""
        if not self.leases:
            await self.lease(payer)
        if not self.leases:
            return
        whose, lease = self.leases.pop(0)
        found = a_receipt(whose, lease.name, lease.amount)
        page = [Admitted(found, found.digest(), found.dumps())]
        [outcome] = self.ledger.write(lambda c: book_all(c, page, time.time()))
        assert outcome in (BOOKED, OWED), "it was given on the ledger's word"
        if outcome == OWED:
            await self.ledger.follower.debts.tell()
        self.fees[whose.address] += lease.amount

    async def ask_back(self, payer: Wallet) -> None:
        amount = self.chain.balance(payer.address) * self.draw.randrange(0, 100) // 100
        call = Call(self.ledger.at.escrow, encode_call("InferenceEscrow", "initiateWithdraw", amount))
        self.others(_key(payer), call)

    async def take_out(self, payer: Wallet) -> None:
        self.others(_key(payer), Call(self.ledger.at.escrow, encode_call("InferenceEscrow", "finalizeWithdraw")))

    async def close(self, _: Wallet) -> None:
        self.asked += 1
        asked = Asked("accounts/operator", ledger_pb2.CloseEpochRequest(), f"close-{self.asked}")
        try:
            await self.ledger.closing.close(asked)
        except Fault as fault:
            _expected(fault, "EMPTY_EPOCH", "EPOCH_IN_PROGRESS")

    def _claim(self) -> tuple[str, Call] | None:
        paying = self.ledger.read(lambda c: epochs.newest(c, State.ACTIVE))
        if paying is None:
            return None
        leaves = self.ledger.read(lambda c: leaf_pages.leaves(c, paying.number))
        earner = self.draw.choice(EARNERS).address
        if earner not in leaves:
            return None
        tree = ClaimTree.build(CHAIN_ID, self.ledger.at.distributor, leaves)
        leaf = ClaimLeaf(earner, leaves[earner], tree.proof(earner))
        return f"claim:{earner}:{paying.key}", calls.claim(self.ledger.at, paying.number, leaf)

    async def claim(self, _: Wallet) -> None:
        """Relayed."""
        if found := self._claim():
            await self.ledger.writer.plan(*found, again=True)

    async def claimed(self, _: Wallet) -> None:
        """By somebody else."""
        if found := self._claim():
            self.others(STRANGER, found[1])

    async def anchor(self, _: Wallet) -> None:
        name = f"datanets/d{self.draw.getrandbits(60)}"
        call = calls.commit_snapshot(self.ledger.at, name, 1, b"r" * 32, 1, "x")
        await self.ledger.writer.plan(f"anchor:{name}", call, again=True)

    async def go_on(self, _: Wallet) -> None:
        """Some moments of the running service, in which somebody may stop a root, and the guardian looks."""
        for _ in range(self.draw.randrange(1, 12)):
            await self.guard()
            self.mine()
            await self.ledger.step()
            if self._pending() and self.draw.random() < 0.5:
                await self.draw.choice(self.stops)(self.payers[0])

    # --- roots that are stopped, by one who is guardian, arbiter and challenger

    @property
    def stops(self) -> tuple[Any, ...]:
        return self.veto, self.challenge, self.veto_late

    def _pending(self) -> Root | None:
        """The newest root, while it does not pay."""
        number = self.chain.last_epoch()
        return self.chain.epoch(number) if number > self.chain.active_epoch() else None

    async def veto(self, _: Wallet) -> None:
        if found := self._pending():
            self.others(STRANGER, calls.veto(self.ledger.at, found.epoch, "why"))

    async def veto_late(self, _: Wallet) -> None:
        """The window is over by the clock, and the ledger looks; then comes a block from within it, with the veto."""
        found = self._pending()
        if found and self.chain.head().timestamp < found.active_at - 3:
            self.rpc("evm_increaseTime", WINDOW)
            await self.ledger.settle()
            self.rpc("evm_setNextBlockTimestamp", found.active_at - 3)
            self.others(STRANGER, calls.veto(self.ledger.at, found.epoch, "why"))

    async def challenge(self, _: Wallet) -> None:
        """The newest root is challenged, or the challenge is decided."""
        found = self._pending()
        if found and not self._decided():
            self.others(STRANGER, calls.challenge(self.ledger.at, found.epoch, found.root, "why"))

    def _decided(self) -> bool:
        number = self.chain.read("RewardsDistributor", self.ledger.at.distributor, "frozenFrom")
        found = self.chain.epoch(number) if number else None
        if found is not None:
            valid = not self._known_wrong(found) and self.draw.random() < 0.5
            self.others(STRANGER, calls.resolve(self.ledger.at, number, found.root, valid=valid))
        return found is not None

    def _known_wrong(self, root: Root) -> bool:
        """Whether it was struck out, as the ledger knows, and the chain has brought it back."""
        here = self.ledger.read(lambda c: epochs.get(c, root.epoch))
        return here is not None and (here.state is State.VETOED or here.root != root.root.hex())

    async def guard(self) -> None:
        """What was struck out once is struck out again."""
        if (found := self._pending()) and self._known_wrong(found):
            await self.veto(self.payers[0])

    def reorganise(self) -> int:
        """Blocks go; of what others sent some comes again, in its order.  What the ledger sent it must send again."""
        self._all_mined()
        head = self.chain.head().number
        depth = min(self.draw.randrange(1, 13), head - self.floor)
        if depth < 1:
            return 0
        mine = OPERATOR.address.lower()
        gone: dict[str, list[str]] = {}
        for number in range(head - depth + 1, head + 1):
            for tx in self.rpc("eth_getBlockByNumber", hex(number), True)["transactions"]:
                if tx["from"] != mine:
                    raw = self.rpc("eth_getRawTransactionByHash", tx["hash"])
                    gone.setdefault(tx["from"], []).append(raw)
        back = [(raw, place) for raws in gone.values() for place, raw in enumerate(raws[: self._some(raws)])]
        pairs = sorted(
            ([raw, min(place + self.draw.randrange(2), depth - 1)] for raw, place in back), key=lambda p: p[1]
        )
        self.rpc("anvil_reorg", depth, pairs)
        return depth

    def _all_mined(self) -> None:
        """Anvil (1.7.1) mines what waits while it reorganises: then blocks are missing, or a transaction is in two."""
        deadline = time.monotonic() + 20
        while int(self.rpc("txpool_status")["pending"], 16):
            assert time.monotonic() < deadline, "a transaction is not mined"
            time.sleep(0.01)

    def _some(self, raws: list[str]) -> int:
        return self.draw.choice((0, len(raws), self.draw.randrange(len(raws) + 1)))

    # --- what must be

    async def quiet(self) -> None:
        """Until nothing moves any more.  Who owes brings the money in, if an epoch waits for it."""
        for number in range(120):
            await self.guard()
            self._decided()
            self.mine()
            await self.ledger.step()
            waits = self.ledger.read(lambda c: epochs.oldest(c, State.SEALED, State.PROPOSED))
            moving = self.ledger.read(sent.unfinished)
            place = self.ledger.read(lambda c: sent.followed(c, self.ledger.at.escrow))
            read = place and place[0] == self.chain.head().number - self.ledger.confirmations
            # What is in blocks that do not count yet is seen by who asks the contracts, and by nobody who follows.
            empty = not self.rpc("eth_getBlockByNumber", "latest", False)["transactions"]
            empty = empty and int(self.rpc("txpool_status")["pending"], 16) == 0
            if not moving and not waits and empty and read and place[1] == self.chain.block(place[0]).hash:
                return
            if waits and waits.state is State.SEALED and number > 20 and not moving:
                self._make_good(waits.total)
                struck = self.ledger.read(lambda c: epochs.oldest(c, State.VETOED))
                if struck and struck.number < waits.number:
                    await self.close(self.payers[0])
        raise AssertionError(f"still moving: {moving} {waits}")

    def _make_good(self, total: int) -> None:
        debts = self.ledger.read(events.debts)
        for who, amount in debts.items():
            self.others(STRANGER, calls.deposit_for(self.ledger.at, who, amount))
        missing = total - self.chain.funded()
        if not debts and missing > 0:
            self.others(STRANGER, calls.fund(self.ledger.at, missing))

    def agree(self) -> None:
        """The ledger equals the chain, and says who owes."""
        ledger = self.ledger
        fees = {payer.address: self.fees[payer.address] for payer in self.payers}
        Agreement(ledger.database, self.chain, OPERATOR.address, fees, ledger.confirmations).everything()
        debts = ledger.read(events.debts)
        assert ledger.follower.debts.told == sum(debts.values())


def _key(wallet: Wallet) -> LocalAccount:
    return Account.from_key(wallet.private_key)


def _expected(fault: Fault, *reasons: str) -> None:
    if fault.reason not in reasons:
        raise fault
