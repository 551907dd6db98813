"""The contracts' interface in Python: calls, results, events and errors as bytes, by the committed artifacts.

Pure, and without a client library: what is needed to build a transaction, to check one, or to read a log.
What it does not know: chains and addresses.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from openledger.claims import keccak

CONTRACTS = ("OpenToken", "RewardsDistributor", "InferenceEscrow", "DatanetRegistry", "ModelRegistry")
SELECTOR_BYTES = 4


class UnknownName(KeyError):
    """No such contract, function or event."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract. `immutables` are (offset, length) of the places that its constructor fills in."""

    name: str
    abi: Sequence[Mapping[str, Any]]
    bytecode: bytes
    deployed_bytecode: bytes
    immutables: Sequence[tuple[int, int]]

    def matches(self, code: bytes) -> bool:
        """Whether `code`, found on a chain, is this contract, whatever its constructor's arguments were."""
        return len(code) == len(self.deployed_bytecode) and self._masked(code) == self._masked(self.deployed_bytecode)

    def _masked(self, code: bytes) -> bytes:
        masked = bytearray(code)
        for start, length in self.immutables:
            masked[start : start + length] = bytes(length)
        return bytes(masked)


@cache
def artifact(contract: str) -> Artifact:
    """The artifact of one of CONTRACTS. Raises UnknownName."""
    if contract not in CONTRACTS:
        raise UnknownName(contract)
    stored = json.loads(resources.files("openledger.contracts").joinpath(f"{contract}.json").read_text())
    return Artifact(
        contract,
        stored["abi"],
        bytes.fromhex(stored["bytecode"][2:]),
        bytes.fromhex(stored["deployed_bytecode"][2:]),
        [(start, length) for start, length in stored["immutables"]],
    )


def datanet_key(name: str) -> bytes:
    """The 32 bytes that stand for a datanet (`datanets/...`) in the registry."""
    return keccak(name.encode())


def snapshots_key(snapshots: Sequence[tuple[str, int, bytes]]) -> bytes:
    """The 32 bytes that stand for the snapshots (datanet's name, version, root) of a revision, in that order."""
    lines = [(datanet_key(datanet), version, root) for datanet, version, root in snapshots]
    return keccak(encode(["(bytes32,uint64,bytes32)[]"], [lines]))


def encode_creation(contract: str, *arguments: Any) -> bytes:
    """The data of the transaction that creates the contract."""
    return artifact(contract).bytecode + encode(_types(_entry(contract, "constructor", "")["inputs"]), arguments)


def encode_call(contract: str, function: str, *arguments: Any) -> bytes:
    """The data of a call: selector and arguments. Structs are tuples in field order."""
    return selector(contract, function) + encode(_types(_entry(contract, "function", function)["inputs"]), arguments)


def selector(contract: str, function: str) -> bytes:
    """The bytes with which the data of a call of that function begins."""
    return _hash(_entry(contract, "function", function))[:SELECTOR_BYTES]


def decode_call(contract: str, function: str, data: bytes) -> tuple[Any, ...]:
    """The arguments of a call. Raises DecodingError if the data is of another function."""
    if data[:SELECTOR_BYTES] != selector(contract, function):
        raise DecodingError(f"not a call of {contract}.{function}")
    return decode(_types(_entry(contract, "function", function)["inputs"]), data[SELECTOR_BYTES:])


def decode_result(contract: str, function: str, data: bytes) -> tuple[Any, ...]:
    """What a function returned, as a tuple of all its values. Addresses are lower-case."""
    return decode(_types(_entry(contract, "function", function)["outputs"]), data)


def event_topic(contract: str, event: str) -> bytes:
    """The first topic of the event's logs."""
    return _hash(_entry(contract, "event", event))


def decode_event(contract: str, event: str, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
    """An event's fields by name. Raises DecodingError if the log is of another event."""
    entry = _entry(contract, "event", event)
    indexed = [field for field in entry["inputs"] if field["indexed"]]
    plain = [field for field in entry["inputs"] if not field["indexed"]]
    if len(topics) != len(indexed) + 1 or topics[0] != _hash(entry):
        raise DecodingError(f"not a log of {contract}.{event}")
    values = {f["name"]: decode([_type(f)], topic)[0] for f, topic in zip(indexed, topics[1:], strict=True)}
    return values | dict(zip([field["name"] for field in plain], decode(_types(plain), data), strict=True))


def decode_error(data: bytes) -> tuple[str, tuple[Any, ...]] | None:
    """The name and arguments of a custom error or of Error(string), or None if no contract here declares it."""
    selector, arguments = data[:SELECTOR_BYTES], data[SELECTOR_BYTES:]
    found = _errors().get(selector)
    if found is None:
        return None
    name, types = found
    try:
        return name, decode(types, arguments)
    except DecodingError:
        return None


@cache
def _errors() -> dict[bytes, tuple[str, list[str]]]:
    known = {keccak(b"Error(string)")[:SELECTOR_BYTES]: ("Error", ["string"])}
    for contract in CONTRACTS:
        for entry in artifact(contract).abi:
            if entry["type"] == "error":
                known[_hash(entry)[:SELECTOR_BYTES]] = (entry["name"], _types(entry["inputs"]))
    return known


@cache
def _entry(contract: str, kind: str, name: str) -> Mapping[str, Any]:
    found = [e for e in artifact(contract).abi if e["type"] == kind and e.get("name", "") == name]
    if len(found) != 1:
        raise UnknownName(f"{contract}.{name or kind}")
    return found[0]


def _hash(entry: Mapping[str, Any]) -> bytes:
    return keccak(f"{entry['name']}({','.join(_types(entry['inputs']))})".encode())


def _types(fields: Sequence[Mapping[str, Any]]) -> list[str]:
    return [_type(field) for field in fields]


def _type(field: Mapping[str, Any]) -> str:
    """The canonical type: structs as their fields in brackets, with the array part after them."""
    kind = str(field["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_types(field['components']))}){kind.removeprefix('tuple')}"
