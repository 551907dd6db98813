"""A chain in memory that can be told to misbehave: blocks undone, answers lost, nonces taken by others."""

from __future__ import annotations

from dataclasses import replace

from eth_account import Account

from openledger.claims import keccak
from services.ledger.chain import (
    Block,
    Call,
    CallReverted,
    ChainUnavailable,
    Contracts,
    NodeRefused,
    NonceTooLow,
    Price,
    Receipt,
    WrongChain,
)
from services.ledger.signing import signed_terms

AT = Contracts(1, 1, *("0x" + digit * 40 for digit in "56789"))
KINDS = ("deposits", "withdrawals", "redemptions", "claims", "splits")


class FakeChain:
    """One block a transaction, mined when it arrives unless `holding`; what is not needed is not there."""

    chain_id = 1
    contracts = AT

    def __init__(self) -> None:
        self.blocks = [Block(0, self._hash(0, 0), "0x", 0)]
        self.mined: dict[str, Receipt] = {}
        self.sent: list[bytes] = []
        self.waiting: list[bytes] = []
        self.holding = self.reverting = self.failing = self.deaf = self.refusing = False
        self.another = self.forgetful = False
        self.base, self.takes = 1, 100_000
        self.inestimable = lambda call: False
        self.foreign = 0
        self.after_broadcast = lambda: None
        self.events: dict[str, list] = {kind: [] for kind in KINDS}
        self.forks = 0

    def _hash(self, number: int, fork: int) -> str:
        return "0x" + keccak(f"{number}.{fork}".encode()).hex()

    def estimate(self, sender: str, call: Call, most: int | None = None) -> int:
        self._answer()
        if self.reverting:
            raise CallReverted("Nope", (), "reverted")
        if self.inestimable(call):
            raise NodeRefused("gas required exceeds allowance")
        return self.takes

    def check(self) -> None:
        if self.another:
            raise WrongChain("the node serves chain 5, but 1 is configured")

    def price(self) -> Price:
        return Price(self.base, 1)

    def nonce(self, address: str, *, pending: bool = False, block: int | None = None) -> int:
        return self.foreign + sum(1 for r in self.mined.values() if block is None or r.block_number <= block)

    def broadcast(self, raw: bytes) -> str:
        self._answer()
        if self.refusing:
            raise NodeRefused("insufficient funds")
        digest = "0x" + keccak(raw).hex()
        self.sent.append(raw)
        if digest not in self.mined:
            if self._nonce_of(raw) < self.nonce(""):
                raise NonceTooLow("nonce too low")
            early = self._nonce_of(raw) > self.nonce("")
            if self.holding or early or signed_terms(raw)[1].max_fee < self.base:
                self.waiting.append(raw)
            else:
                self.mine(raw)
        self.after_broadcast()
        return digest

    def _nonce_of(self, raw: bytes) -> int:
        from eth_account.typed_transactions import TypedTransaction
        from hexbytes import HexBytes

        return int(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["nonce"])

    def mine(self, raw: bytes | None = None) -> None:
        """A block, with the transaction if one is given."""
        number = len(self.blocks)
        block = Block(number, self._hash(number, self.forks), self.blocks[-1].hash, number)
        self.blocks.append(block)
        if raw is not None:
            assert Account.recover_transaction(raw)
            digest = "0x" + keccak(raw).hex()
            self.mined[digest] = Receipt(digest, number, block.hash, not self.failing, 1, None)

    def undo(self, count: int = 1) -> None:
        """Blocks that are no longer part of the chain, with what was in them."""
        gone = {block.hash for block in self.blocks[-count:]}
        del self.blocks[-count:]
        self.forks += 1
        self.mined = {digest: r for digest, r in self.mined.items() if r.block_hash not in gone}

    def receipt(self, tx_hash: str) -> Receipt | None:
        self._answer()
        return None if self.forgetful else self.mined.get(tx_hash)

    def head(self) -> Block:
        self._answer()
        return self.blocks[-1]

    def block(self, number: int) -> Block | None:
        if self.another:
            return Block(number, self._hash(number, -1), "", 0)
        return self.blocks[number] if number < len(self.blocks) else None

    def deposits(self, from_block: int, to_block: int | None = None) -> list:
        return self._events("deposits", from_block, to_block)

    def withdrawals(self, from_block: int, to_block: int | None = None) -> list:
        return self._events("withdrawals", from_block, to_block)

    def redemptions(self, from_block: int, to_block: int | None = None) -> list:
        return self._events("redemptions", from_block, to_block)

    def claims(self, from_block: int, to_block: int | None = None) -> list:
        return self._events("claims", from_block, to_block)

    def splits(self, from_block: int, to_block: int | None = None) -> list:
        return self._events("splits", from_block, to_block)

    def drop(self, kind: str) -> None:
        """Events of blocks that are gone never were."""
        self.events[kind] = [event for event in self.events[kind] if event.block_number < len(self.blocks)]

    def _events(self, kind: str, first: int, last: int | None) -> list:
        end = len(self.blocks) - 1 if last is None else last
        found = [event for event in self.events[kind] if first <= event.block_number <= end]
        return [replace(event, block_hash=self.blocks[event.block_number].hash) for event in found]

    def _answer(self) -> None:
        if self.deaf:
            raise ChainUnavailable("no answer")
