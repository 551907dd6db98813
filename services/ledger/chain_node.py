"""A node over JSON-RPC, by web3, with timeouts on everything.

Nodes differ in what they say and when they know it; those differences end here. What it does not know: which contracts
there are, keys, and what was sent before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import requests
from eth_typing import BlockNumber
from web3 import HTTPProvider, Web3
from web3.exceptions import BadResponseFormat, BlockNotFound, ContractLogicError, TransactionNotFound, Web3RPCError
from web3.middleware import AttributeDictMiddleware
from web3.providers.rpc.utils import ExceptionRetryConfiguration
from web3.types import BlockIdentifier, TxParams

from openledger.abi import decode_error, decode_event, decode_result, encode_call, event_topic
from openledger.claims import keccak
from openledger.money import MAX_AMOUNT
from services.ledger.chain import (
    GAS_MARGIN,
    Block,
    Call,
    CallReverted,
    ChainUnavailable,
    NodeRefused,
    NonceTooLow,
    Price,
    Receipt,
    TransactionRejected,
    WrongChain,
)
from services.ledger.signing import Fees, offer

TIMEOUT_SECONDS = 20.0
LOG_BLOCKS = 2_000  # a request: many nodes refuse longer ranges
# geth, anvil, erigon and nethermind: the transaction waits in their pool, or is in a block, already.
KNOWN_ALREADY = ("already known", "already imported", "alreadyknown", "known transaction", "already exists")

T = TypeVar("T")


class Node:
    """A node of one chain. Make it with `Node.connect`."""

    def __init__(self, web3: Web3, chain_id: int, session: requests.Session, genesis: str = "") -> None:
        self.web3 = web3
        self.chain_id = chain_id
        self.session = session
        self.genesis = genesis  # the first block's hash: tells two chains of the same id apart

    @classmethod
    def connect(cls, url: str, chain_id: int, timeout: float = TIMEOUT_SECONDS) -> Node:
        """Connects and checks the chain id. Raises WrongChain, ChainUnavailable; `timeout` in seconds, a request."""
        retries = ExceptionRetryConfiguration(errors=(requests.ConnectionError,), retries=2)
        # One session for all threads: web3 would open one a thread, and never close any.
        session, patience = requests.Session(), {"timeout": timeout}
        provider = HTTPProvider(url, patience, session, exception_retry_configuration=retries)
        # Without web3's own look at the chain's id before each call, which doubles the requests: `check` does it.
        node = cls(Web3(provider, middleware=[AttributeDictMiddleware]), chain_id, session)
        node.check()
        node.genesis = node._block(0).hash
        return node

    def check(self) -> None:
        served = self._ask(lambda: self.web3.eth.chain_id)
        if served != self.chain_id:
            raise WrongChain(f"the node serves chain {served}, but {self.chain_id} is configured")
        if self.genesis and (first := self._block(0).hash) != self.genesis:
            raise WrongChain(f"the node serves another chain {served} than before: its first block is {first}")

    def close(self) -> None:
        """Lets go of the connections."""
        self.session.close()

    def nonce(self, address: str, *, pending: bool = False, block: int | None = None) -> int:
        account = Web3.to_checksum_address(address)
        at: BlockIdentifier = "pending" if pending else "latest"
        if block is not None:
            at = BlockNumber(block)
        return self._ask(lambda: self.web3.eth.get_transaction_count(account, at))

    def price(self) -> Price:
        base = self._ask(lambda: self.web3.eth.get_block("latest").get("baseFeePerGas", 0))
        return Price(int(base), int(self._ask(lambda: self.web3.eth.max_priority_fee)))

    def fees(self) -> Fees:
        """An offer that holds through several full blocks, whatever it costs."""
        found = offer(self.price(), MAX_AMOUNT)
        assert found is not None
        return found

    def estimate(self, sender: str, call: Call, most: int | None = None) -> int:
        exact = self._on_next_block(lambda at: self.web3.eth.estimate_gas(_params(sender, call, most), at))
        wanted = int(exact * GAS_MARGIN)
        return wanted if most is None else min(wanted, max(exact, most))

    def code(self, address: str) -> bytes:
        """The code at an address; empty if there is none."""
        return bytes(self._ask(lambda: self.web3.eth.get_code(Web3.to_checksum_address(address))))

    def broadcast(self, raw: bytes) -> str:
        tx_hash = "0x" + keccak(raw).hex()
        try:
            self._ask(lambda: self.web3.eth.send_raw_transaction(raw))
        except NodeRefused as refused:
            words = str(refused).lower()
            if any(known in words for known in KNOWN_ALREADY):
                return tx_hash
            if "nonce too low" not in words:
                raise TransactionRejected(str(refused)) from refused
            if self.receipt(tx_hash) is None:
                raise NonceTooLow(str(refused)) from refused
        return tx_hash

    def receipt(self, tx_hash: str) -> Receipt | None:
        try:
            return self._ask(lambda: _receipt(self.web3.eth.get_transaction_receipt(_bytes(tx_hash))))
        except TransactionNotFound:
            return None

    def head(self) -> Block:
        return self._block("latest")

    def block(self, number: int) -> Block | None:
        try:
            return self._block(number)
        except BlockNotFound:
            return None

    def finalized_number(self) -> int:
        return self._block("finalized").number

    def timestamp(self) -> int:
        return int(self._on_next_block(lambda at: self.web3.eth.get_block(at)["timestamp"]))

    def read(self, contract: str, at: str, function: str, *arguments: Any) -> Any:
        """Calls a view on the newest block; returns its value, or a tuple of several. Raises CallReverted."""
        return _value(contract, function, self.call(at, encode_call(contract, function, *arguments)))

    def call(self, at: str, data: bytes, gas: int | None = None) -> bytes:
        """What the contract at the address answers on the newest block, with so much gas. Raises CallReverted."""
        params = _params(None, Call(at, data), gas)
        return bytes(self._ask(lambda: self.web3.eth.call(params, "latest")))

    def read_at(self, block: int, contract: str, at: str, function: str, *arguments: Any) -> Any:
        """Like `read`, as of a block, which not every node remembers for long."""
        params = _params(None, Call(at, encode_call(contract, function, *arguments)))
        return _value(contract, function, self._ask(lambda: self.web3.eth.call(params, BlockNumber(block))))

    def read_next(self, contract: str, at: str, function: str, *arguments: Any) -> Any:
        """Like `read`, at the time of the next block: for views that depend on the clock."""
        params = _params(None, Call(at, encode_call(contract, function, *arguments)))
        return _value(contract, function, self._on_next_block(lambda block: self.web3.eth.call(params, block)))

    def logs(self, contract: str, at: str, event: str, from_block: int, to_block: int) -> Iterator[dict[str, Any]]:
        """The event's logs in order, with their fields under "fields"."""
        topic = "0x" + event_topic(contract, event).hex()
        for first in range(from_block, to_block + 1, LOG_BLOCKS):
            found = self._logs(at, topic, first, min(first + LOG_BLOCKS - 1, to_block))
            for log in sorted(found, key=lambda entry: (entry["blockNumber"], entry["logIndex"])):
                fields = decode_event(contract, event, [bytes(t) for t in log["topics"]], bytes(log["data"]))
                yield {**log, "fields": fields}

    def _logs(self, at: str, topic: str, first: int, last: int) -> Any:
        query: Any = {"address": Web3.to_checksum_address(at), "topics": [topic], "fromBlock": first, "toBlock": last}
        return self._ask(lambda: self.web3.eth.get_logs(query))

    def _block(self, at: Any) -> Block:
        return self._ask(lambda: _header(self.web3.eth.get_block(at)))

    def _on_next_block(self, question: Callable[[BlockIdentifier], T]) -> T:
        """Asks about the block to come, whose time is now; the newest block of a quiet chain may be hours old.

        Not every node knows a pending block: the newest one is then the best there is.
        """
        try:
            return self._ask(lambda: question("pending"))
        except (BlockNotFound, NodeRefused):
            return self._ask(lambda: question("latest"))

    def _ask(self, question: Callable[[], T]) -> T:
        """Asks the node, with its failures turned into ours. Lets BlockNotFound and TransactionNotFound through."""
        try:
            return question()
        except ContractLogicError as error:
            raise _reverted(error) from error
        except (BlockNotFound, TransactionNotFound):
            raise
        except Web3RPCError as error:
            raise NodeRefused(_words(error)) from error
        except (requests.RequestException, BadResponseFormat, ConnectionError, TimeoutError) as error:
            raise ChainUnavailable(f"the node does not answer: {type(error).__name__}: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ChainUnavailable(f"the node's answer cannot be read: {type(error).__name__}: {error}") from error


def _header(found: Any) -> Block:
    return Block(found["number"], _hex(found["hash"]), _hex(found["parentHash"]), found["timestamp"])


def _receipt(found: Any) -> Receipt | None:
    if found["blockNumber"] is None:
        return None  # some nodes answer for a transaction that still waits
    made = found["contractAddress"]
    return Receipt(
        tx_hash=_hex(found["transactionHash"]),
        block_number=found["blockNumber"],
        block_hash=_hex(found["blockHash"]),
        succeeded=found["status"] == 1,
        gas_used=found["gasUsed"],
        contract=str(made).lower() if made else None,
    )


def _value(contract: str, function: str, result: bytes) -> Any:
    if not result:
        raise NodeRefused(f"there is no {contract} where {function} was called")
    values = decode_result(contract, function, bytes(result))
    return values[0] if len(values) == 1 else values


def _params(sender: str | None, call: Call, gas: int | None = None) -> TxParams:
    params: TxParams = {"data": call.data, "value": Web3.to_wei(call.value, "wei")}
    if gas is not None:
        params["gas"] = gas
    if sender is not None:
        params["from"] = Web3.to_checksum_address(sender)
    if call.to is not None:
        params["to"] = Web3.to_checksum_address(call.to)
    return params


def _reverted(error: ContractLogicError) -> CallReverted:
    data = error.data if isinstance(error.data, str) and error.data.startswith("0x") else "0x"
    decoded = decode_error(bytes.fromhex(data[2:]))
    return CallReverted(decoded[0] if decoded else None, decoded[1] if decoded else (), str(error.message or data))


def _words(error: Web3RPCError) -> str:
    """The node's own message, out of what web3 wraps around it."""
    response = error.rpc_response or {}
    inner = response.get("error")
    return str(inner.get("message")) if isinstance(inner, dict) else str(error)


def _bytes(tx_hash: str) -> Any:
    return bytes.fromhex(tx_hash[2:])


def _hex(value: bytes) -> str:
    return "0x" + bytes(value).hex()
