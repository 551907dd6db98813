"""What accounts can claim by the newest root that pays, with proofs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy import Connection

from openledger.claims import ClaimTree
from services.kit.database import Database
from services.kit.errors import Fault, not_found
from services.ledger import journal
from services.ledger.chain import Chain
from services.ledger.store import books, epochs
from services.ledger.store.epochs import Epoch, State


@dataclass(frozen=True)
class Claimable:
    """An account's leaf in the newest active epoch; `amount` is what a claim would bring now."""

    account: str
    epoch: int
    cumulative: int
    proof: tuple[bytes, ...]
    amount: int


class ClaimsBook:
    """Leaves and proofs.  Keeps the newest epoch's tree in memory, about 150 bytes an account."""

    def __init__(self, database: Database, chain: Chain) -> None:
        self._database, self._chain = database, chain
        self._tree: tuple[str, ClaimTree] | None = None
        self._building = asyncio.Lock()

    async def claimable(self, account: str) -> Claimable:
        """What the account can claim.  Raises `Fault` when no root that pays has anything for it."""
        epoch, cumulative, claimed = await self._database.read(lambda c: _look(c, account))
        if epoch is None or not cumulative:
            raise _nothing(account)
        tree = await self._built(epoch)
        proof = tuple(tree.proof(account))
        return Claimable(account, epoch.number, cumulative, proof, max(0, cumulative - claimed))

    async def _built(self, epoch: Epoch) -> ClaimTree:
        async with self._building:
            if self._tree is None or self._tree[0] != epoch.key:
                leaves = await self._database.read(lambda c: epochs.leaves(c, epoch.number))
                at = self._chain.contracts.distributor
                tree = await asyncio.to_thread(ClaimTree.build, self._chain.chain_id, at, leaves)
                self._tree = (epoch.key, tree)
            return self._tree[1]


def _look(connection: Connection, account: str) -> tuple[Epoch | None, int, int]:
    epoch = epochs.newest(connection, State.ACTIVE)
    cumulative = epochs.leaf(connection, epoch.number, account) if epoch else 0
    return epoch, cumulative, books.book(connection, journal.payable(account)).debits


def _nothing(account: str) -> Fault:
    return not_found(
        "NO_CLAIM",
        f"no root that pays has anything for accounts/{account} yet; what was earned since can be claimed once the "
        "running epoch is closed and its challenge window is over",
        account=f"accounts/{account}",
    )
