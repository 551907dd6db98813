"""The JSON-RPC methods, over `Evm`, and the envelope: requests, batches, errors.

Errors are worded as geth words them, since clients go by the words. What it does not know: HTTP.
"""

import functools
import inspect
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

from eth.abc import BlockHeaderAPI
from eth.exceptions import Revert, VMError
from eth_bloom import BloomFilter  # type: ignore[attr-defined]
from eth_utils.exceptions import ValidationError

from services.ledger.devchain import encoding
from services.ledger.devchain.encoding import HASH_BYTES, InvalidParams, data, quantity, read_data, read_quantity
from services.ledger.devchain.evm import Evm, Rejected

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
REJECTED, REVERTED = -32000, 3
TIP = 10**9  # wei a unit of gas, suggested
MAX_BATCH = 1000
MAX_FEE_HISTORY = 1024
MAX_MINED = 1000  # blocks by one evm_mine
MAX_ADVANCE = 10 * 365 * 86_400  # seconds by one evm_increaseTime

log = logging.getLogger("devchain")


class RpcError(Exception):
    """An error to answer with."""

    def __init__(self, code: int, message: str, details: str | None = None) -> None:
        super().__init__(message)
        self.body: dict[str, Any] = {"code": code, "message": message}
        if details is not None:
            self.body["data"] = details


class Methods:
    """Every method that the chain answers; `eth_call` is `Methods.eth_call`, and so on."""

    def __init__(self, evm: Evm) -> None:
        self._evm = evm

    # --- about the chain

    def web3_clientVersion(self) -> str:
        return "openledger-devchain/py-evm"

    def net_version(self) -> str:
        return str(self._evm.chain_id)

    def eth_chainId(self) -> str:
        return quantity(self._evm.chain_id)

    def eth_syncing(self) -> bool:
        return False

    def eth_accounts(self) -> list[str]:
        return []  # it holds no keys: transactions arrive signed

    def eth_blockNumber(self) -> str:
        return quantity(self._evm.head.block_number)

    # --- fees

    def eth_gasPrice(self) -> str:
        return quantity(_base_fee(self._evm.pending_header()) + TIP)

    def eth_maxPriorityFeePerGas(self) -> str:
        return quantity(TIP)

    def eth_feeHistory(self, count: Any, newest: Any, percentiles: Any = None) -> dict[str, Any]:
        last = self._header(newest)
        wanted = max(1, min(read_quantity(count), MAX_FEE_HISTORY, last.block_number + 1))
        oldest = last.block_number - wanted + 1
        headers = [self._header(quantity(number)) for number in range(oldest, last.block_number)] + [last]
        following = self._evm.header_at(last.block_number + 1) or self._evm.pending_header()
        history = {
            "oldestBlock": quantity(oldest),
            "baseFeePerGas": [quantity(_base_fee(h)) for h in [*headers, following]],
            "gasUsedRatio": [h.gas_used / h.gas_limit for h in headers],
        }
        if percentiles:
            history["reward"] = [[quantity(TIP)] * len(percentiles) for _ in headers]
        return history

    # --- accounts

    def eth_getBalance(self, account: Any, at: Any = "latest") -> str:
        return quantity(self._evm.state(self._header(at)).get_balance(read_data(account, encoding.ADDRESS_BYTES)))

    def eth_getTransactionCount(self, account: Any, at: Any = "latest") -> str:
        return quantity(self._evm.nonce(read_data(account, encoding.ADDRESS_BYTES), self._header(at)))

    def eth_getCode(self, account: Any, at: Any = "latest") -> str:
        return data(self._evm.state(self._header(at)).get_code(read_data(account, encoding.ADDRESS_BYTES)))

    def eth_getStorageAt(self, account: Any, slot: Any, at: Any = "latest") -> str:
        state = self._evm.state(self._header(at))
        word = state.get_storage(read_data(account, encoding.ADDRESS_BYTES), read_quantity(slot))
        return data(int(word).to_bytes(HASH_BYTES))

    # --- blocks, transactions, logs

    def eth_getBlockByNumber(self, at: Any, full: Any = False) -> dict[str, Any] | None:
        if at == "pending":
            return encoding.header(self._evm.pending_header(), pending=True)
        block = self._evm.block_at(self._number(at))
        return encoding.block(block, full=bool(full)) if block else None

    def eth_getBlockByHash(self, block_hash: Any, full: Any = False) -> dict[str, Any] | None:
        block = self._evm.block_by_hash(read_data(block_hash, HASH_BYTES))
        return encoding.block(block, full=bool(full)) if block else None

    def eth_getTransactionByHash(self, tx_hash: Any) -> dict[str, Any] | None:
        found = self._evm.find_transaction(read_data(tx_hash, HASH_BYTES))
        return encoding.transaction(*found) if found else None

    def eth_getTransactionReceipt(self, tx_hash: Any) -> dict[str, Any] | None:
        found = self._evm.find_transaction(read_data(tx_hash, HASH_BYTES))
        return encoding.receipt(*found, self._evm.receipts(found[0])) if found else None

    def eth_getLogs(self, query: Any) -> list[dict[str, Any]]:
        if not isinstance(query, dict):
            raise InvalidParams("eth_getLogs takes one object")
        addresses = _addresses(query.get("address"))
        topics = [_topics(alternatives) for alternatives in query.get("topics") or []]
        found: list[dict[str, Any]] = []
        for number in self._range(query):
            header = self._evm.header_at(number)
            if header is None or not _may_hold(header, addresses):
                continue
            block = self._evm.block_at(number)
            if block is not None:
                found += [
                    entry
                    for entry in encoding.logs(block, self._evm.receipts(block))
                    if _matches(entry, addresses, topics)
                ]
        return found

    # --- execution

    def eth_call(self, call: Any, at: Any = "latest") -> str:
        try:
            computation = self._evm.run(encoding.read_call(call), self._execution_header(at))
            computation.raise_if_error()
        except VMError as error:
            raise _failed(error) from error
        return data(computation.output)

    def eth_estimateGas(self, call: Any, at: Any = "latest") -> str:
        try:
            return quantity(self._evm.estimate(encoding.read_call(call), self._execution_header(at)))
        except VMError as error:
            raise _failed(error) from error

    def eth_sendRawTransaction(self, raw: Any) -> str:
        return data(self._evm.submit(read_data(raw)))

    # --- what only a development chain does

    def evm_mine(self, blocks: Any = 1) -> str:
        for _ in range(min(max(read_quantity(blocks), 1), MAX_MINED)):
            self._evm.mine([])
        return "0x0"

    def evm_increaseTime(self, seconds: Any) -> str:
        step = read_quantity(seconds)
        if step > MAX_ADVANCE:
            raise InvalidParams(f"{step} seconds is more than ten years")
        return quantity(self._evm.advance(step))

    # --- block arguments

    def _number(self, at: Any) -> int:
        if at in ("latest", "safe", "finalized", "pending", None):
            return self._evm.head.block_number  # nothing here is ever undone
        return 0 if at == "earliest" else read_quantity(at)

    def _header(self, at: Any) -> BlockHeaderAPI:
        header = self._evm.header_at(self._number(at))
        if header is None:
            raise RpcError(REJECTED, "header not found")
        return header

    def _execution_header(self, at: Any) -> BlockHeaderAPI:
        """Where a call runs: on the newest state with the next block's time, else in the named block.

        No blocks come by themselves here, so the newest block's own time would stand still between transactions, and
        whoever waits for a time to pass would wait for ever.
        """
        return self._evm.pending_header() if at in ("latest", "pending", None) else self._header(at)

    def _range(self, query: dict[str, Any]) -> Iterable[int]:
        if query.get("blockHash"):
            block = self._evm.block_by_hash(read_data(query["blockHash"], HASH_BYTES))
            if block is None:
                raise RpcError(REJECTED, "unknown block")
            return [block.number]
        first, last = self._number(query.get("fromBlock")), self._number(query.get("toBlock"))
        return range(first, min(last, self._evm.head.block_number) + 1)


def answer(methods: Methods, body: bytes) -> bytes:
    """The response to a request or a batch, as JSON."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return _dump(_error(None, PARSE_ERROR, "the body is not JSON"))
    if not isinstance(request, list):
        return _dump(_one(methods, request))
    if not 0 < len(request) <= MAX_BATCH:
        return _dump(_error(None, INVALID_REQUEST, f"a batch holds 1 to {MAX_BATCH} requests"))
    return _dump([_one(methods, single) for single in request])


def _one(methods: Methods, request: Any) -> dict[str, Any]:
    request_id = request.get("id") if isinstance(request, dict) else None
    try:
        return {"jsonrpc": "2.0", "id": request_id, "result": _bound(methods, request)()}
    except RpcError as error:
        return {"jsonrpc": "2.0", "id": request_id, "error": error.body}
    except Rejected as error:
        return _error(request_id, REJECTED, str(error))
    except (InvalidParams, ValidationError) as error:
        return _error(request_id, INVALID_PARAMS, f"invalid argument: {error}")
    except Exception as error:
        # One bad request must not take the chain down.
        log.exception("%.200s failed", request)
        return _error(request_id, INTERNAL, f"internal error: {type(error).__name__}")


def _bound(methods: Methods, request: Any) -> Callable[[], Any]:
    """The method that the request names, with its arguments. Raises RpcError if there is none that takes them."""
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise RpcError(INVALID_REQUEST, "a request is an object with method, params, id")
    name, params = request["method"], request.get("params") or []
    method = None if name.startswith("_") else getattr(methods, name, None)
    if method is None:
        raise RpcError(UNKNOWN_METHOD, f"the method {name:.80} does not exist")
    if not isinstance(params, list):
        raise RpcError(INVALID_PARAMS, "params is a list")
    try:
        inspect.signature(method).bind(*params)
    except TypeError as error:
        raise RpcError(INVALID_PARAMS, f"{name}: {error}") from error
    return functools.partial(method, *params)


def _error(request_id: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


def _dump(response: Any) -> bytes:
    return json.dumps(response, separators=(",", ":")).encode()


def _failed(error: VMError) -> RpcError:
    """A failed execution; a revert carries the data that says why, which clients decode."""
    if isinstance(error, Revert):
        output = error.args[0] if error.args and isinstance(error.args[0], bytes) else b""
        return RpcError(REVERTED, "execution reverted", data(output))
    return RpcError(REJECTED, str(error) or type(error).__name__)


def _base_fee(header: BlockHeaderAPI) -> int:
    return header.base_fee_per_gas or 0


def _addresses(value: Any) -> set[str]:
    listed = value if isinstance(value, list) else [value] if value else []
    return {data(read_data(address, encoding.ADDRESS_BYTES)) for address in listed}


def _topics(alternatives: Any) -> set[str]:
    listed = alternatives if isinstance(alternatives, list) else [alternatives] if alternatives else []
    return {data(read_data(topic, HASH_BYTES)) for topic in listed}


def _may_hold(header: BlockHeaderAPI, addresses: set[str]) -> bool:
    bloom = BloomFilter(header.bloom)
    return not addresses or any(bytes.fromhex(address[2:]) in bloom for address in addresses)


def _matches(entry: dict[str, Any], addresses: set[str], topics: list[set[str]]) -> bool:
    if addresses and entry["address"] not in addresses:
        return False
    if len(topics) > len(entry["topics"]):
        return False
    return all(not wanted or entry["topics"][i] in wanted for i, wanted in enumerate(topics))
