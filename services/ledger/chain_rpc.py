"""The chain port over JSON-RPC: the contracts, read through a node.

What it does not know: what nodes say and how they differ (`services/ledger/chain_node.py`), and how the contracts got
there (`services/ledger/deploy.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eth_abi.abi import encode

from openledger.abi import datanet_key
from services.ledger import gas_bounds
from services.ledger.chain import (
    CallReverted,
    ChainUnavailable,
    Claimed,
    Contracts,
    Deposit,
    Epoch,
    NodeRefused,
    Redeemed,
    SplitHolds,
    Strike,
    Totals,
    Withdrawal,
)
from services.ledger.chain_node import TIMEOUT_SECONDS, Node
from services.ledger.deploy import Terms, deploy
from services.ledger.registries import Revision, Snapshot, Split
from services.ledger.signer import Signer

ERC1271_MAGIC = bytes.fromhex("1626ba7e")  # isValidSignature(bytes32,bytes): its selector, and its yes


def open_chain(
    url: str,
    chain_id: int,
    deployer: Signer,
    terms: Terms,
    path: Path,
    timeout: float = TIMEOUT_SECONDS,
    *,
    create: bool = True,
) -> RpcChain:
    """Connects to a node and makes sure that the contracts are there. Raises what `Node.connect` and `deploy` raise."""
    node = Node.connect(url, chain_id, timeout)
    return RpcChain(node, deploy(node, deployer, terms, path, create=create))


class RpcChain(Node):
    """A node, and the contracts read through it: implements `services.ledger.chain.Chain`."""

    def __init__(self, node: Node, contracts: Contracts) -> None:
        super().__init__(node.web3, node.chain_id, node.session, node.genesis)
        self.contracts = contracts

    def deposits(self, from_block: int, to_block: int | None = None) -> Iterable[Deposit]:
        for log in self._escrow_logs("Deposited", from_block, to_block):
            fields = log["fields"]
            yield Deposit(fields["payer"], fields["amount"], fields["total"], *_place(log))

    def withdrawals(self, from_block: int, to_block: int | None = None) -> Iterable[Withdrawal]:
        found = [
            Withdrawal(log["fields"]["payer"], log["fields"]["amount"], event == "Withdrawn", *_place(log))
            for event in ("WithdrawInitiated", "Withdrawn")
            for log in self._escrow_logs(event, from_block, to_block)
        ]
        yield from sorted(found, key=lambda event: (event.block_number, event.log_index))

    def redemptions(self, from_block: int, to_block: int | None = None) -> Iterable[Redeemed]:
        for log in self._escrow_logs("Redeemed", from_block, to_block):
            fields = log["fields"]
            yield Redeemed(fields["payer"], fields["amount"], fields["cumulativeSpent"], *_place(log))

    def claims(self, from_block: int, to_block: int | None = None) -> Iterable[Claimed]:
        at = self.contracts.distributor
        for log in self.logs("RewardsDistributor", at, "Claimed", from_block, self._last(to_block)):
            fields = log["fields"]
            yield Claimed(fields["account"], fields["epoch"], fields["amount"], fields["cumulative"], *_place(log))

    def splits(self, from_block: int, to_block: int | None = None) -> Iterable[SplitHolds]:
        at, last = self.contracts.models, self._last(to_block)
        logs = [
            log
            for event in ("RevisionRegistered", "SplitChanged")
            for log in self.logs("ModelRegistry", at, event, from_block, last)
        ]
        for log in sorted(logs, key=lambda log: (log["blockNumber"], log["logIndex"])):
            fields, place = log["fields"], _place(log)
            block = self.block(place[0])
            if block is None or block.hash != place[1]:
                raise ChainUnavailable(f"the node told events of block {place[0]} ({place[1]}), and shows another one")
            yield SplitHolds(fields["revision"].hex(), Split(*fields["split"]), block.timestamp, *place)

    def strikes(self, from_block: int, to_block: int | None = None) -> Iterable[Strike]:
        at = self.contracts.distributor
        for log in self.logs("RewardsDistributor", at, "RootsStruck", from_block, self._last(to_block)):
            first, last = log["fields"].values()
            yield Strike(first, last, log["blockNumber"])

    def accepts_signature(self, contract: str, digest: bytes, signature: bytes) -> bool:
        data = ERC1271_MAGIC + encode(["bytes32", "bytes"], [digest, signature])
        try:
            answer = self.call(contract, data, gas_bounds.asking(data))
        except (CallReverted, NodeRefused):
            return False
        return answer == ERC1271_MAGIC.ljust(32, b"\0")

    def balance(self, payer: str) -> int:
        return int(self.read("InferenceEscrow", self.contracts.escrow, "balanceOf", payer))

    def spent(self, payer: str) -> int:
        _, spent = self.read("InferenceEscrow", self.contracts.escrow, "accounts", payer)
        return int(spent)

    def token_balance(self, address: str) -> int:
        return int(self.read("OpenToken", self.contracts.token, "balanceOf", address))

    def permit_nonce(self, owner: str) -> int:
        return int(self.read("OpenToken", self.contracts.token, "nonces", owner))

    def funded(self) -> int:
        return int(self._distributor("funded"))

    def claimed(self, account: str) -> int:
        return int(self._distributor("claimed", account))

    def total_claimed(self) -> int:
        return int(self._distributor("totalClaimed"))

    def totals(self, block: int) -> Totals:
        at = self.contracts
        return Totals(
            escrow=int(self.read_at(block, "OpenToken", at.token, "balanceOf", at.escrow)),
            funded=int(self.read_at(block, "RewardsDistributor", at.distributor, "funded")),
            claimed=int(self.read_at(block, "RewardsDistributor", at.distributor, "totalClaimed")),
        )

    def max_epoch_increase(self) -> int:
        return int(self._distributor("maxEpochIncrease"))

    def last_epoch(self) -> int:
        return int(self._distributor("lastEpoch"))

    def active_epoch(self, block: int | None = None) -> int:
        what = "RewardsDistributor", self.contracts.distributor, "activeEpoch"
        return int(self.read_next(*what) if block is None else self.read_at(block, *what))

    def epoch(self, number: int) -> Epoch | None:
        try:
            return Epoch(number, *self._distributor("epochOf", number))
        except CallReverted as reverted:
            if reverted.error == "EpochUnknown":
                return None
            raise

    def guardian(self) -> str:
        return str(self._distributor("guardian")).lower()

    def snapshot(self, datanet: str, version: int) -> Snapshot | None:
        key = datanet_key(datanet)
        found = Snapshot(*self.read("DatanetRegistry", self.contracts.registry, "snapshotOf", key, version))
        return found if found.records else None

    def revision(self, digest: bytes) -> Revision | None:
        at = self.contracts.models
        index_root, base, snapshots, developer, *split, since = self.read("ModelRegistry", at, "revisionOf", digest)
        if not since:
            return None
        *change, change_at = self.read("ModelRegistry", at, "changeOf", digest)
        announced = Split(*change) if change_at else None
        return Revision(index_root, base, snapshots, developer, Split(*split), since, announced, change_at)

    def _escrow_logs(self, event: str, from_block: int, to_block: int | None) -> Iterator[dict[str, Any]]:
        return self.logs("InferenceEscrow", self.contracts.escrow, event, from_block, self._last(to_block))

    def _last(self, to_block: int | None) -> int:
        return self.head().number if to_block is None else to_block

    def _distributor(self, function: str, *arguments: Any) -> Any:
        return self.read("RewardsDistributor", self.contracts.distributor, function, *arguments)


def _place(log: dict[str, Any]) -> tuple[int, str, str, int]:
    """Where a log stands: block number and hash, transaction hash, index in the block."""
    block_hash, tx_hash = bytes(log["blockHash"]).hex(), bytes(log["transactionHash"]).hex()
    return log["blockNumber"], "0x" + block_hash, "0x" + tx_hash, log["logIndex"]
