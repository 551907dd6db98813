"""Compares snapshots with what a chain holds of them: roots in the DatanetRegistry, each written once and for all."""

from __future__ import annotations

from collections.abc import Iterable

from openledger import abi
from openledger.cli.rpc import Rpc, RpcError
from openledger.snapshots.documents import Entry

REGISTRY = "DatanetRegistry"


def on_chain(rpc: Rpc, registry: str, entries: Iterable[Entry]) -> str:
    """What was found, in words.  registry: its address, as you know it.

    Raises `ValueError` that says what the chain holds instead, and `RpcError` where it does not answer.
    """
    found = []
    code = str(rpc.call("eth_getCode", registry, "latest")).removeprefix("0x")
    try:
        known = abi.artifact(REGISTRY).matches(bytes.fromhex(code))
    except ValueError as error:
        raise RpcError(f"{rpc.url} says of {registry} what is no code") from error
    if not known:
        raise ValueError(f"{registry} on the chain at {rpc.url} is no {REGISTRY}")
    for entry in entries:
        ((root, count, _),) = rpc.read(REGISTRY, registry, "snapshotOf", abi.datanet_key(entry.datanet), entry.number)
        if not any(root):
            raise ValueError(f"the chain holds no root of {entry.snapshot}: it is not anchored there (yet)")
        if (root.hex(), count) != (entry.root, entry.record_count):
            raise ValueError(
                f"the chain holds the root {root.hex()} of {count} records for {entry.snapshot}, here it is "
                f"{entry.root} of {entry.record_count}"
            )
        found.append(entry.snapshot)
    return f"{registry} on chain {rpc.number('eth_chainId')} holds the root of {' and of '.join(found)}"
