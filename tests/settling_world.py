"""Epochs on their way to a chain in memory that holds roots: closed, proposed, struck out, paying."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from openledger.abi import decode_call, selector
from openledger.ledger.v1 import ledger_pb2
from services.kit.idempotency import Idempotency
from services.kit.metrics import Metrics
from services.kit.operations import Operations
from services.ledger.chain import Epoch as Root
from services.ledger.chain import Strike
from services.ledger.chain_writer import ChainWriter
from services.ledger.closing import Closing
from services.ledger.pen import Pen
from services.ledger.relay import Asked
from services.ledger.settler import Settler
from services.ledger.signing import Patience
from services.ledger.store import epochs
from services.ledger.store.epochs import Epoch
from services.ledger.store.tables import METADATA
from tests.epoch_world import PAYER, Ledger, Somewhere
from tests.fake_chain import FakeChain
from tests.ledger_world import a_receipt

ACCOUNT = Account.from_key(b"\x01" * 32)
CONFIRMATIONS = 2
WINDOW = 3
"""Blocks after its own in which a root does not pay yet; by the clock it does at once."""
_PROPOSAL = selector("RewardsDistributor", "proposeRoot")


class Roots(FakeChain):
    """A chain that holds the roots that are sent to it."""

    chain_id, contracts = Somewhere.chain_id, Somewhere.contracts

    def __init__(self) -> None:
        super().__init__()
        self.roots: dict[int, tuple[bytes, int]] = {}
        self.struck: list[Strike] = []
        self.lacks = False

    def mine(self, raw: bytes | None = None) -> None:
        super().mine(raw)
        data = bytes(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["data"]) if raw else b""
        if data.startswith(_PROPOSAL):
            number, root, *_ = decode_call("RewardsDistributor", "proposeRoot", data)
            self.roots[number] = root, self.blocks[-1].number

    def strike(self, number: int) -> None:
        """A block in which the root of that epoch is struck out, and those after it."""
        self.mine()
        self.struck.append(Strike(number, max(self.roots), self.blocks[-1].number))
        self.roots = {n: root for n, root in self.roots.items() if n < number}

    def strikes(self, first: int, last: int) -> list[Strike]:
        return [strike for strike in self.struck if first <= strike.block_number <= last]

    def epoch(self, number: int) -> Root | None:
        found = None if self.lacks else self.roots.get(number)
        return found and Root(number, found[0], b"", 0, 1, 1)

    def active_epoch(self, block: int | None = None) -> int:
        paying = (n for n, (_, at) in self.roots.items() if block is None or at + WINDOW <= block)
        return max(paying, default=0)

    def funded(self) -> int:
        return 2**128


class Right:
    """All that is looked at, and what is found there."""

    trouble: str | None = ""

    @property
    def in_the_way(self) -> str | None:
        return self.trouble

    async def step(self) -> str:
        await asyncio.sleep(0)
        return ""


class Settling:
    """A ledger's epochs, a settler and a writer, moved on by one."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.ledger, self.chain = Ledger(folder, url), Roots()
        database = self.database = self.ledger.database
        pen = Pen(database, ACCOUNT.address.lower(), "one", Metrics("pen"), seconds=600)
        assert pen.take()
        metrics, patience = Metrics("ledger"), Patience(1000, 60)
        how = {"confirmations": CONFIRMATIONS, "poll_seconds": 0.001}
        self.writer = ChainWriter(database, self.chain, ACCOUNT, pen, metrics, patience=patience, **how)
        operations = Operations(database, METADATA, "ledger")
        self.right = right = Right()
        parts = database, self.chain, self.writer, pen, operations, self.ledger.bundles, metrics, right, right
        self.settler = Settler(*parts, most=2**128, room=0, credit=0, **how)
        parts = database, self.chain, self.settler, operations, Idempotency(METADATA), metrics
        self.closing = Closing(*parts, batch=2, most=2**128, checks=right)
        self.asked = 0

    def close_database(self) -> None:
        self.database.close()

    async def close(self) -> Epoch:
        """Close the next epoch, or one that was struck out; the epoch that was sealed."""
        self.asked += 1
        operation = await self.closing.close(Asked("operator", ledger_pb2.CloseEpochRequest(), f"close-{self.asked}"))
        operation.metadata.Unpack(sealed := ledger_pb2.Epoch())
        return self.epoch(int(sealed.name.removeprefix("epochs/")))

    async def answered(self) -> Epoch:
        """An answer, and the epoch that settles it."""
        self.ledger.give(a_receipt(PAYER, "leases/1", 10**18))
        return await self.close()

    def epoch(self, number: int) -> Epoch:
        found = self.database.read_now(lambda c: epochs.get(c, number))
        assert found is not None
        return found

    def states(self) -> list[str]:
        """Of all epochs, the oldest first: 1.1 SEALED."""
        found = self.database.read_now(lambda c: epochs.page(c, None, 100))
        return [f"{epoch.key} {epoch.state}" for epoch in reversed(found)]

    async def step(self, times: int = 1, *, mine: bool = True) -> None:
        """Moments of the running service, a block after each."""
        for _ in range(times):
            await self.writer.step()
            while await self.settler.step():
                pass
            if mine:
                self.chain.mine()

    def verified(self) -> list[bool]:
        """Whether strangers find nothing wrong with the epochs' bundles."""
        found = self.database.read_now(lambda c: epochs.page(c, None, 100))
        return [not self.ledger.check(epoch.bundle).failed for epoch in reversed(found) if epoch.bundle]
