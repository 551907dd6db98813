"""Several nodes as one chain: what one says of blocks, receipts, events and roots counts where all say the same.

A node that lags holds the others up, one that lies stops them: nothing that they contradict each other about becomes
final.  Sent and estimated is through the first alone, since bytes that it would keep back are offered again, and what
it makes up of prices and nonces costs a transaction and no money.  What this does not know: which of them is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from services.ledger.chain import (
    Block,
    ChainUnavailable,
    Claimed,
    Deposit,
    Epoch,
    Receipt,
    Redeemed,
    SplitHolds,
    Strike,
    Totals,
    Withdrawal,
    WrongChain,
)
from services.ledger.chain_node import TIMEOUT_SECONDS, Node
from services.ledger.chain_rpc import RpcChain

T = TypeVar("T")


class Disagreement(ChainUnavailable):
    """The nodes contradict each other: nothing is done until they do not."""


class Quorum(RpcChain):
    """A node and its witnesses, which must be run by others for it to mean anything."""

    def __init__(self, first: RpcChain, witnesses: Sequence[Node]) -> None:
        """Raises `WrongChain` where one is of another chain."""
        super().__init__(first, first.contracts)
        self._all = [first, *(RpcChain(one, first.contracts) for one in witnesses)]
        if strangers := [one.genesis for one in witnesses if one.genesis != first.genesis]:
            raise WrongChain(f"a witness serves another chain: its first block is {strangers[0]}, not {first.genesis}")

    @classmethod
    def connect_all(cls, first: RpcChain, urls: Sequence[str], timeout: float = TIMEOUT_SECONDS) -> Quorum:
        """With the nodes at those URLs.  Raises what `Node.connect` raises."""
        return cls(first, [Node.connect(url, first.chain_id, timeout) for url in urls])

    def check(self) -> None:
        for one in self._all:
            one.check()

    def close(self) -> None:
        for one in self._all:
            one.close()

    def head(self) -> Block:
        """Up to which all are."""
        return min(self._each(lambda one: one.head()), key=lambda head: head.number)

    def block(self, number: int) -> Block | None:
        return self._known(f"block {number}", lambda one: one.block(number))

    def receipt(self, tx_hash: str) -> Receipt | None:
        return self._known(f"transaction {tx_hash}", lambda one: one.receipt(tx_hash))

    def deposits(self, from_block: int, to_block: int | None = None) -> Iterable[Deposit]:
        return self._events("deposits", from_block, to_block, lambda one, *blocks: one.deposits(*blocks))

    def withdrawals(self, from_block: int, to_block: int | None = None) -> Iterable[Withdrawal]:
        return self._events("withdrawals", from_block, to_block, lambda one, *blocks: one.withdrawals(*blocks))

    def redemptions(self, from_block: int, to_block: int | None = None) -> Iterable[Redeemed]:
        return self._events("redemptions", from_block, to_block, lambda one, *blocks: one.redemptions(*blocks))

    def claims(self, from_block: int, to_block: int | None = None) -> Iterable[Claimed]:
        return self._events("claims", from_block, to_block, lambda one, *blocks: one.claims(*blocks))

    def splits(self, from_block: int, to_block: int | None = None) -> Iterable[SplitHolds]:
        return self._events("splits", from_block, to_block, lambda one, *blocks: one.splits(*blocks))

    def strikes(self, from_block: int, to_block: int | None = None) -> Iterable[Strike]:
        return self._events("strikes", from_block, to_block, lambda one, *blocks: one.strikes(*blocks))

    def accepts_signature(self, contract: str, digest: bytes, signature: bytes) -> bool:
        return all(self._each(lambda one: one.accepts_signature(contract, digest, signature)))

    def totals(self, block: int) -> Totals:
        return self._same(f"what the contracts held after block {block}", lambda one: one.totals(block))

    def active_epoch(self, block: int | None = None) -> int:
        return min(self._each(lambda one: one.active_epoch(block)))

    def epoch(self, number: int) -> Epoch | None:
        return self._same(f"epoch {number}", lambda one: one.epoch(number))

    def _events(
        self, what: str, first: int, last: int | None, ask: Callable[[RpcChain, int, int], Iterable[T]]
    ) -> list[T]:
        end = self.head().number if last is None else last
        return self._same(f"{what} in blocks {first} to {end}", lambda one: list(ask(one, first, end)))

    def _known(self, what: str, ask: Callable[[RpcChain], T | None]) -> T | None:
        """What all say; None where one does not know it yet."""
        found = self._each(ask)
        known = [answer for answer in found if answer is not None]
        self._agree(what, known)
        return known[0] if len(known) == len(found) else None

    def _same(self, what: str, ask: Callable[[RpcChain], T]) -> T:
        found = self._each(ask)
        self._agree(what, found)
        return found[0]

    def _each(self, ask: Callable[[RpcChain], T]) -> list[T]:
        return [ask(one) for one in self._all]

    def _agree(self, what: str, answers: Sequence[object]) -> None:
        if any(answer != answers[0] for answer in answers):
            raise Disagreement(f"the nodes contradict each other about {what}")
