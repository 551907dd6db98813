"""Blocks, transactions, receipts and logs as Ethereum's JSON-RPC writes them, and its arguments as py-evm wants them.

Pure. Quantities are 0x hex without leading zeros, data is 0x hex of whole bytes.
"""

from collections.abc import Sequence
from typing import Any

from eth._utils.address import generate_contract_address
from eth.abc import BlockAPI, BlockHeaderAPI, LogAPI, ReceiptAPI, SignedTransactionAPI

ADDRESS_BYTES, HASH_BYTES = 20, 32


class InvalidParams(ValueError):
    """An argument is not what the method takes; the message says which and why."""


def quantity(value: int) -> str:
    return hex(value)


def data(value: bytes) -> str:
    return "0x" + value.hex()


def read_data(value: Any, length: int | None = None) -> bytes:
    """Bytes from 0x hex, of `length` bytes if given. Raises InvalidParams."""
    if not isinstance(value, str) or not value.startswith("0x") or (not value[2:].isalnum() and value != "0x"):
        raise InvalidParams(f"{value!r:.80} is not 0x hex data")
    try:
        decoded = bytes.fromhex(value[2:])
    except ValueError as error:
        raise InvalidParams(f"{value!r:.80} is not 0x hex data") from error
    if length is not None and len(decoded) != length:
        raise InvalidParams(f"{value!r:.80} is {len(decoded)} bytes, not {length}")
    return decoded


def read_quantity(value: Any) -> int:
    """A number from 0x hex, or a plain JSON integer (anvil's evm_ methods take both). Raises InvalidParams."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.startswith("0x") and value[2:].isalnum():
        try:
            return int(value, 16)
        except ValueError as error:
            raise InvalidParams(f"{value!r:.80} is not a 0x hex quantity") from error
    raise InvalidParams(f"{value!r:.80} is not a 0x hex quantity")


def read_call(call: Any) -> dict[str, Any]:
    """A call object as `Evm.run` takes it. Raises InvalidParams."""
    if not isinstance(call, dict):
        raise InvalidParams("a call is an object with to, data, from, value, gas")
    payload = call.get("input", call.get("data")) or "0x"
    return {
        "sender": read_data(call.get("from") or "0x" + "00" * ADDRESS_BYTES, ADDRESS_BYTES),
        "to": read_data(call["to"], ADDRESS_BYTES) if call.get("to") else b"",
        "data": read_data(payload),
        "value": read_quantity(call.get("value") or "0x0"),
        "gas": read_quantity(call["gas"]) if call.get("gas") else None,
    }


def block(value: BlockAPI, *, full: bool) -> dict[str, Any]:
    """A mined block; `full` gives whole transactions instead of hashes."""
    transactions = [
        transaction(value, index) if full else data(value.transactions[index].hash)
        for index in range(len(value.transactions))
    ]
    return header(value.header) | {"transactions": transactions}


def header(value: BlockHeaderAPI, *, pending: bool = False) -> dict[str, Any]:
    """A block without its transactions. A pending one has no hash and no nonce yet."""
    return {
        "number": quantity(value.block_number),
        "hash": None if pending else data(value.hash),
        "nonce": None if pending else data(value.nonce),
        "parentHash": data(value.parent_hash),
        "sha3Uncles": data(value.uncles_hash),
        "logsBloom": data(value.bloom.to_bytes(256)),
        "transactionsRoot": data(value.transaction_root),
        "stateRoot": data(value.state_root),
        "receiptsRoot": data(value.receipt_root),
        "miner": data(value.coinbase),
        "difficulty": quantity(value.difficulty),
        "totalDifficulty": "0x0",
        "extraData": data(value.extra_data),
        "size": "0x0",
        "gasLimit": quantity(value.gas_limit),
        "gasUsed": quantity(value.gas_used),
        "timestamp": quantity(value.timestamp),
        "baseFeePerGas": quantity(value.base_fee_per_gas or 0),
        "mixHash": data(value.mix_hash),
        "uncles": [],
        "transactions": [],
        "withdrawals": [],
    }


def transaction(where: BlockAPI, index: int) -> dict[str, Any]:
    """A mined transaction."""
    tx: Any = where.transactions[index]  # the signature's fields differ between kinds
    kind = tx.type_id or 0
    fields: dict[str, Any] = {
        "type": quantity(kind),
        "hash": data(tx.hash),
        "nonce": quantity(tx.nonce),
        "blockHash": data(where.hash),
        "blockNumber": quantity(where.number),
        "transactionIndex": quantity(index),
        "from": data(tx.sender),
        "to": data(tx.to) if tx.to else None,
        "value": quantity(tx.value),
        "gas": quantity(tx.gas),
        "gasPrice": quantity(_paid_price(tx, where.header)),
        "input": data(tx.data),
        "chainId": quantity(tx.chain_id) if tx.chain_id is not None else None,
        "r": quantity(tx.r),
        "s": quantity(tx.s),
        "v": quantity(tx.y_parity if kind else tx.v),
    }
    if kind:
        fields |= {"yParity": quantity(tx.y_parity), "accessList": [_access(entry) for entry in tx.access_list]}
    if kind > 1:
        fields["maxFeePerGas"] = quantity(tx.max_fee_per_gas)
        fields["maxPriorityFeePerGas"] = quantity(tx.max_priority_fee_per_gas)
    return fields


def receipt(where: BlockAPI, index: int, receipts: Sequence[ReceiptAPI]) -> dict[str, Any]:
    """The receipt of the block's transaction number `index`."""
    tx, mined = where.transactions[index], receipts[index]
    before = receipts[index - 1].gas_used if index else 0
    created = None if tx.to else data(generate_contract_address(tx.sender, tx.nonce))
    return {
        "type": quantity(tx.type_id or 0),
        "transactionHash": data(tx.hash),
        "transactionIndex": quantity(index),
        "blockHash": data(where.hash),
        "blockNumber": quantity(where.number),
        "from": data(tx.sender),
        "to": data(tx.to) if tx.to else None,
        "contractAddress": created,
        "status": quantity(int.from_bytes(mined.state_root)),
        "gasUsed": quantity(mined.gas_used - before),
        "cumulativeGasUsed": quantity(mined.gas_used),
        "effectiveGasPrice": quantity(_paid_price(tx, where.header)),
        "logsBloom": data(mined.bloom.to_bytes(256)),
        "logs": [log for log in logs(where, receipts) if log["transactionIndex"] == quantity(index)],
    }


def logs(where: BlockAPI, receipts: Sequence[ReceiptAPI]) -> list[dict[str, Any]]:
    """All logs of a block; `logIndex` counts through the block."""
    placed: list[tuple[int, LogAPI]] = [(i, log) for i, mined in enumerate(receipts) for log in mined.logs]
    return [
        {
            "address": data(log.address),
            "topics": [data(topic.to_bytes(HASH_BYTES)) for topic in log.topics],
            "data": data(log.data),
            "blockHash": data(where.hash),
            "blockNumber": quantity(where.number),
            "blockTimestamp": quantity(where.header.timestamp),
            "transactionHash": data(where.transactions[tx_index].hash),
            "transactionIndex": quantity(tx_index),
            "logIndex": quantity(log_index),
            "removed": False,
        }
        for log_index, (tx_index, log) in enumerate(placed)
    ]


def _paid_price(tx: SignedTransactionAPI, where: BlockHeaderAPI) -> int:
    """What a unit of gas cost the sender, in wei."""
    return min(tx.max_fee_per_gas, tx.max_priority_fee_per_gas + (where.base_fee_per_gas or 0))


def _access(entry: Any) -> dict[str, Any]:
    address, keys = entry
    return {"address": data(address), "storageKeys": [data(key.to_bytes(HASH_BYTES)) for key in keys]}
