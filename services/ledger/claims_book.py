"""What accounts can claim by the newest root that pays, with proofs.

A proof needs an account's page of leaves and the nodes of all pages: the way through its page, which is a tree of its
own, and from there up to the root.
"""

from __future__ import annotations

import asyncio
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from openledger.claims import ClaimTree, fold, siblings
from services.kit.database import Database
from services.kit.errors import Fault, not_found
from services.ledger import journal
from services.ledger.chain import Chain
from services.ledger.settle import PAGE
from services.ledger.store import books, epochs, leaf_pages
from services.ledger.store.epochs import Epoch, State


@dataclass(frozen=True)
class Claimable:
    """An account's leaf in the newest active epoch; `amount` is what a claim would bring now."""

    account: str
    epoch: int
    cumulative: int
    proof: tuple[bytes, ...]
    amount: int


@dataclass(frozen=True)
class _Pages:
    """An epoch's pages of leaves: the first account of each, and the tree's levels from their nodes up."""

    epoch: str
    firsts: Sequence[str]
    levels: Sequence[Sequence[bytes]]


class ClaimsBook:
    """Leaves and proofs.  Keeps the nodes of the newest epoch's pages in memory, less than a byte an account."""

    def __init__(self, database: Database, chain: Chain) -> None:
        self._database, self._chain = database, chain
        self._pages: _Pages | None = None
        self._reading = asyncio.Lock()

    async def claimable(self, account: str) -> Claimable:
        """What the account can claim.  Raises `Fault` when no root that pays has anything for it."""
        epoch, page, claimed = await self._database.read(lambda c: _look(c, account))
        if epoch is None or account not in page:
            raise _nothing(account)
        pages, cumulative = await self._all(epoch), page[account]
        inside = self._tree(page).proof(account)
        above = siblings(pages.levels, bisect(pages.firsts, account) - 1)
        return Claimable(account, epoch.number, cumulative, (*inside, *above), max(0, cumulative - claimed))

    async def _all(self, epoch: Epoch) -> _Pages:
        async with self._reading:
            if self._pages is None or self._pages.epoch != epoch.key:
                self._pages = await self._database.read(lambda c: self._read(c, epoch))
            return self._pages

    def _read(self, connection: Connection, epoch: Epoch) -> _Pages:
        nodes = leaf_pages.nodes(connection, epoch.number)
        known = [node for node in nodes.values() if node is not None]
        if len(known) < len(nodes):  # sealed by a version that kept none
            known = list(self._tree(leaf_pages.leaves(connection, epoch.number)).subtrees(PAGE))
        return _Pages(epoch.key, list(nodes), fold(known))

    def _tree(self, leaves: Mapping[str, int]) -> ClaimTree:
        return ClaimTree.build(self._chain.chain_id, self._chain.contracts.distributor, leaves)


def _look(connection: Connection, account: str) -> tuple[Epoch | None, Mapping[str, int], int]:
    epoch = epochs.newest(connection, State.ACTIVE)
    page = leaf_pages.around(connection, epoch.number, account) if epoch else {}
    return epoch, page, books.book(connection, journal.payable(account)).debits


def _nothing(account: str) -> Fault:
    return not_found(
        "NO_CLAIM",
        f"no root that pays has anything for accounts/{account} yet; what was earned since can be claimed once the "
        "running epoch is closed and its challenge window is over",
        account=f"accounts/{account}",
    )
