"""The port to the chain: what the ledger asks of it, and the values that pass.

`services/ledger/chain_rpc.py` is the implementation, over JSON-RPC; any EVM chain will do. What the port does not know:
which transactions to send, and their life from planned to final (the chain writer's). It only sends without
remembering, and reads; `services/ledger/signing.py` signs.

Addresses are lower-case 0x hex, hashes 0x hex, amounts atomic units, times Unix seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from services.ledger.registries import Revision, Snapshot, Split

GAS_MARGIN = 1.2  # on estimates: state may change between estimate and block


class ChainError(Exception):
    """Something went wrong with the chain; the subclasses say what."""


class ChainUnavailable(ChainError):
    """No answer, or none in time. What was sent may have arrived: send the same bytes again."""


class WrongChain(ChainError):
    """The node serves another chain than the one configured or recorded."""


class NodeRefused(ChainError):
    """The node answered with an error of its own; the message is the node's."""


class TransactionRejected(NodeRefused):
    """The node will not take the transaction; sending the same bytes again will not help."""


class NonceTooLow(TransactionRejected):
    """The nonce is used up, and not by this transaction: it can never be mined."""


class CallReverted(ChainError):
    """A call or an estimate failed in the contract. `error` is the contract's name for it, or None."""

    def __init__(self, error: str | None, arguments: tuple[object, ...], message: str) -> None:
        super().__init__(f"{error}{arguments}" if error else message)
        self.error = error
        self.arguments_ = arguments


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction does: `data` to the contract at `to`, or the creation of one if `to` is None."""

    to: str | None
    data: bytes
    value: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """What gas costs in the next block, in wei a unit: `base` whoever asks, `tip` to be taken in soon."""

    base: int
    tip: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction. Mined is not final: see `Chain.finalized_number`."""

    tx_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    gas_used: int
    contract: str | None  # made by it


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class Deposit:
    """A deposit event. (block_hash, log_index) is its identity; `total` is the payer's deposits after it."""

    payer: str
    amount: int
    total: int
    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A withdrawal event: `paid` out, or asked for (then what earlier requests asked for no longer counts)."""

    payer: str
    amount: int
    paid: bool
    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim event: what the account was paid, and all that it was ever paid after it."""

    account: str
    epoch: int
    amount: int
    cumulative: int
    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A redemption event: what was taken of a payer's deposits, and all that ever was after it."""

    payer: str
    amount: int
    cumulative: int
    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int


@dataclass(frozen=True, slots=True)
class SplitHolds:
    """A revision (hex SHA-256 of its manifest) was registered, or got another split, in a block of that time."""

    revision: str
    split: Split
    time: int
    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int


@dataclass(frozen=True, slots=True)
class Strike:
    """Pending roots of a range of epochs, both ends included, that were struck out."""

    first: int
    last: int
    block_number: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch's root as the distributor holds it. Claimable from `active_at` on."""

    epoch: int
    root: bytes
    log_root: bytes
    cumulative_total: int
    active_at: int
    leaf_count: int


@dataclass(frozen=True, slots=True)
class Contracts:
    """Where the contracts are, and the block from which their events start."""

    chain_id: int
    block: int
    token: str
    distributor: str
    escrow: str
    registry: str
    models: str


@dataclass(frozen=True, slots=True)
class Totals:
    """As of a block: the OPEN in the escrow, all that was ever brought to the distributor, and all that was claimed."""

    escrow: int
    funded: int
    claimed: int


class Chain(Protocol):
    """One chain with the contracts on it. Every method may raise ChainUnavailable and NodeRefused."""

    chain_id: int
    contracts: Contracts

    def close(self) -> None: ...

    def check(self) -> None:
        """That the node still serves this chain: by its id, and by its first block.  Raises WrongChain."""
        ...

    def nonce(self, address: str, *, pending: bool = False, block: int | None = None) -> int:
        """The next nonce: of transactions mined up to `block`, or now; with `pending` also of those that wait."""
        ...

    def price(self) -> Price:
        """What gas costs."""
        ...

    def estimate(self, sender: str, call: Call, most: int | None = None) -> int:
        """Gas for the call with GAS_MARGIN, within `most` where it takes no more. Raises CallReverted.

        That says that sending it now would fail. With no more than `most` gas, where it is given; nodes say of a call
        that runs out of it that it reverts, or refuse to estimate.
        """
        ...

    def broadcast(self, raw: bytes) -> str:
        """Sends a signed transaction; returns its hash. Sending one that is known already is success.

        Raises NonceTooLow, TransactionRejected.
        """
        ...

    def receipt(self, tx_hash: str) -> Receipt | None:
        """The receipt, or None while the transaction is not in a block of the canonical chain."""
        ...

    def head(self) -> Block:
        """The newest block."""
        ...

    def block(self, number: int) -> Block | None:
        """The canonical block of that number, or None if there is none yet."""
        ...

    def finalized_number(self) -> int:
        """The number of the newest block that the node calls final."""
        ...

    def timestamp(self) -> int:
        """The time that a transaction sent now would see, as far as the node can say."""
        ...

    def deposits(self, from_block: int, to_block: int | None = None) -> Iterable[Deposit]:
        """Deposit events of the blocks, both ends included, in order. to_block None: up to the head."""
        ...

    def withdrawals(self, from_block: int, to_block: int | None = None) -> Iterable[Withdrawal]:
        """Withdrawal events, as `deposits`."""
        ...

    def redemptions(self, from_block: int, to_block: int | None = None) -> Iterable[Redeemed]:
        """Redemption events, as `deposits`."""
        ...

    def claims(self, from_block: int, to_block: int | None = None) -> Iterable[Claimed]:
        """Claim events, as `deposits`."""
        ...

    def splits(self, from_block: int, to_block: int | None = None) -> Iterable[SplitHolds]:
        """Splits that came to hold, as `deposits`."""
        ...

    def strikes(self, from_block: int, to_block: int | None = None) -> Iterable[Strike]:
        """Roots that were struck out, as `deposits`."""
        ...

    def accepts_signature(self, contract: str, digest: bytes, signature: bytes) -> bool:
        """Whether the contract wallet at that address takes the signature (ERC-1271), within `gas_bounds.WALLET`.

        False where no contract is.
        """
        ...

    def balance(self, payer: str) -> int:
        """What the payer has in escrow, not yet redeemed."""
        ...

    def spent(self, payer: str) -> int:
        """What was redeemed of the payer's deposits so far."""
        ...

    def token_balance(self, address: str) -> int:
        """OPEN held by the address."""
        ...

    def permit_nonce(self, owner: str) -> int:
        """The nonce for the owner's next permit."""
        ...

    def funded(self) -> int:
        """All that ever went into the distributor."""
        ...

    def claimed(self, account: str) -> int:
        """What the account has been paid so far."""
        ...

    def total_claimed(self) -> int:
        """What all accounts have been paid so far."""
        ...

    def totals(self, block: int) -> Totals:
        """What the contracts held after that block.  Raises NodeRefused where the node has forgotten it."""
        ...

    def max_epoch_increase(self) -> int:
        """The most by which one root may exceed the one before it; never changes."""
        ...

    def last_epoch(self) -> int:
        """The newest epoch proposed and not vetoed; 0 if none."""
        ...

    def active_epoch(self, block: int | None = None) -> int:
        """The newest epoch that a transaction sent now could claim against, or one in that block; 0 if none."""
        ...

    def epoch(self, number: int) -> Epoch | None:
        """The epoch, if the distributor still or already holds it."""
        ...

    def guardian(self) -> str:
        """Who can veto roots; never changes."""
        ...

    def snapshot(self, datanet: str, version: int) -> Snapshot | None:
        """The snapshot committed for a datanet's resource name, or None."""
        ...

    def revision(self, digest: bytes) -> Revision | None:
        """The adapter revision registered under its manifest's SHA-256, or None."""
        ...
