"""The chain itself: genesis, blocks mined on demand, calls and look-ups, over py-evm.

Every change goes through `mine`, which makes a block durable before it returns, or changes nothing.
What it does not know: JSON, HTTP, and threads (the caller lets one in at a time).
"""

import secrets
import time
from collections.abc import Sequence
from typing import Any

from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.constants import BLANK_ROOT_HASH, POST_MERGE_DIFFICULTY, POST_MERGE_MIX_HASH, POST_MERGE_NONCE
from eth.db.atomic import AtomicDB
from eth.estimators.gas import binary_gas_search_1000_tolerance
from eth.exceptions import CanonicalHeadNotFound, HeaderNotFound, TransactionNotFound
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_keys.exceptions import BadSignature
from eth_typing import BlockNumber, Hash32
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from services.ledger.devchain.storage import SqliteStorage, Unusable

GAS_LIMIT = 30_000_000
GENESIS_BALANCE = 10**6 * 10**18  # wei for each funded account
TIME_OFFSET, CHAIN_ID, FUNDED = "time_offset", "chain_id", "funded"


class Rejected(Exception):
    """A transaction that cannot be mined; the message is worded as nodes word it, which clients go by."""


class DevVM(PragueVM):
    """Prague rules, except that a block may carry its parent's timestamp.

    One block a transaction and a strictly growing clock would run ahead of real time by a second a transaction.
    """

    @classmethod
    def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        if header.timestamp == parent_header.timestamp:
            parent_header = parent_header.copy(timestamp=parent_header.timestamp - 1)
        super().validate_header(header, parent_header)


class Evm:
    """The chain in `storage`, made there if the storage is new.

    funded: canonical addresses given ether at genesis. Raises Unusable if the storage holds another chain id, or was
    made without one of these accounts.
    """

    def __init__(self, storage: SqliteStorage, chain_id: int, funded: Sequence[bytes]) -> None:
        self._storage = storage
        kind: Any = type("DevChain", (MiningChain,), {"chain_id": chain_id, "vm_configuration": ((0, DevVM),)})
        self._chain: MiningChain
        try:
            self._chain = kind(AtomicDB(storage))
        except CanonicalHeadNotFound:
            self._chain = self._genesis(kind, chain_id, funded)
        stored = storage.setting(CHAIN_ID)
        if stored != str(chain_id):
            raise Unusable(f"the file holds chain {stored}, not {chain_id}")
        unfunded = [account.hex() for account in funded if account.hex() not in str(storage.setting(FUNDED)).split(",")]
        if unfunded:
            raise Unusable(f"0x{unfunded[0]} was not funded when this chain was made; start a new file for it")

    def _genesis(self, kind: Any, chain_id: int, funded: Sequence[bytes]) -> Any:
        header = {
            "difficulty": POST_MERGE_DIFFICULTY,
            "mix_hash": POST_MERGE_MIX_HASH,
            "nonce": POST_MERGE_NONCE,
            "gas_limit": GAS_LIMIT,
            "timestamp": int(time.time()),
            "extra_data": b"openledger devchain",
            "transaction_root": BLANK_ROOT_HASH,
            "receipt_root": BLANK_ROOT_HASH,
        }
        state = {a: {"balance": GENESIS_BALANCE, "nonce": 0, "code": b"", "storage": {}} for a in funded}
        chain = kind.from_genesis(AtomicDB(self._storage), header, state)
        self._storage.set_setting(CHAIN_ID, str(chain_id))
        self._storage.set_setting(FUNDED, ",".join(account.hex() for account in funded))
        self._storage.commit()
        return chain

    @property
    def chain_id(self) -> int:
        return int(self._chain.chain_id)

    @property
    def head(self) -> BlockHeaderAPI:
        """The newest block's header."""
        return self._chain.get_canonical_head()

    def now(self) -> int:
        """The time that the next block would carry: real time plus what `advance` added, never before the head's."""
        offset = int(self._storage.setting(TIME_OFFSET) or 0)
        return max(int(time.time()) + offset, self.head.timestamp)

    def advance(self, seconds: int) -> int:
        """Moves the clock forward for good; returns the whole offset in seconds."""
        offset = int(self._storage.setting(TIME_OFFSET) or 0) + seconds
        self._storage.set_setting(TIME_OFFSET, str(offset))
        self._storage.commit()
        return offset

    def pending_header(self) -> BlockHeaderAPI:
        """The header on which the next block would be executed: state of the head, time of now."""
        return self._chain.create_header_from_parent(
            self.head, timestamp=self.now(), gas_limit=self.head.gas_limit, mix_hash=secrets.token_bytes(32)
        )

    def mine(self, transactions: Sequence[SignedTransactionAPI]) -> None:
        """Executes the transactions into the next block and makes it durable. On any error nothing has changed."""
        try:
            self._chain.header = self.pending_header()
            self._chain.mine_all(transactions, mix_hash=self._chain.header.mix_hash)
            self._storage.commit()
        except BaseException:
            self._storage.rollback()
            raise

    def submit(self, raw: bytes) -> bytes:
        """Mines one signed transaction; returns its hash. Raises Rejected with the reason."""
        try:
            transaction = self._chain.get_vm(self.head).get_transaction_builder().decode(raw)
            transaction.validate()
            sender = transaction.sender
        except (RLPException, ValidationError, BadSignature, ValueError, TypeError, IndexError) as error:
            raise Rejected(f"invalid transaction: {error}") from error
        if self.find_transaction(transaction.hash):
            raise Rejected("already known")
        if transaction.chain_id != self.chain_id:
            raise Rejected(f"invalid chain id for signer: have {transaction.chain_id} want {self.chain_id}")
        expected = self.nonce(sender, self.head)
        if transaction.nonce != expected:
            wrong = "low" if transaction.nonce < expected else "high"
            raise Rejected(f"nonce too {wrong}: address 0x{sender.hex()}, tx: {transaction.nonce} state: {expected}")
        try:
            self.mine([transaction])
        except ValidationError as error:
            raise Rejected(str(error)) from error
        return bytes(transaction.hash)

    def run(self, call: dict[str, Any], header: BlockHeaderAPI) -> ComputationAPI:
        """Executes a call on the header's state without keeping anything. Call fields: sender, to, data, value, gas."""
        vm = self._chain.get_vm(header.copy(base_fee_per_gas=0))
        return vm.state.apply_transaction(self._spoof(vm, call, header))

    def estimate(self, call: dict[str, Any], header: BlockHeaderAPI) -> int:
        """Gas that suffices for the call, within 1,000 of the least. Raises py-evm's VMError if none does.

        The search goes up to what the call is given at most, which it takes for the block's limit.
        """
        most = min(call["gas"] or GAS_LIMIT, header.gas_limit)
        vm = self._chain.get_vm(header.copy(base_fee_per_gas=0, gas_limit=most))
        return int(binary_gas_search_1000_tolerance(vm.state, self._spoof(vm, call, header)))

    def _spoof(self, vm: Any, call: dict[str, Any], header: BlockHeaderAPI) -> Any:
        unsigned = vm.create_unsigned_transaction(
            nonce=self.nonce(call["sender"], header),
            gas_price=0,
            gas=min(call["gas"] or GAS_LIMIT, GAS_LIMIT),
            to=call["to"],
            value=call["value"],
            data=call["data"],
        )
        return SpoofTransaction(unsigned, from_=call["sender"])

    def state(self, header: BlockHeaderAPI) -> Any:
        """The accounts as the block left them (py-evm's StateAPI)."""
        return self._chain.get_vm(header).state

    def nonce(self, account: bytes, header: BlockHeaderAPI) -> int:
        """The number of transactions the account has sent, as of the block."""
        return int(self.state(header).get_nonce(account))

    def block_at(self, number: int) -> BlockAPI | None:
        """The block of that number, or None."""
        try:
            return self._chain.get_canonical_block_by_number(BlockNumber(number))
        except (HeaderNotFound, ValidationError):
            return None

    def header_at(self, number: int) -> BlockHeaderAPI | None:
        """The header of that number, or None."""
        try:
            return self._chain.get_canonical_block_header_by_number(BlockNumber(number))
        except (HeaderNotFound, ValidationError):
            return None

    def block_by_hash(self, block_hash: bytes) -> BlockAPI | None:
        """The block of that hash, or None."""
        try:
            return self._chain.get_block_by_hash(Hash32(block_hash))
        except (HeaderNotFound, ValidationError):
            return None

    def receipts(self, block: BlockAPI) -> tuple[ReceiptAPI, ...]:
        """The block's receipts, one a transaction."""
        return block.get_receipts(self._chain.chaindb)

    def find_transaction(self, tx_hash: bytes) -> tuple[BlockAPI, int] | None:
        """The block that holds the transaction and its place in it, or None."""
        try:
            number, index = self._chain.get_canonical_transaction_index(Hash32(tx_hash))
        except TransactionNotFound:
            return None
        return self._chain.get_canonical_block_by_number(number), index
