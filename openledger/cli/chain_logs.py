"""A contract's events, read from nodes as there are: page by page, from the block in which it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.exceptions import DecodingError

from openledger import abi
from openledger.cli.rpc import Rpc, RpcError

BLOCKS = 2_000  # a request: many nodes refuse more


@dataclass(frozen=True)
class Log:
    """An event's fields, and where it stands.

    Its block's number and hash, the latter as the node tells it, whatever that is; and its transaction, 0x hex.
    """

    event: str
    fields: dict[str, Any]
    block: int
    block_hash: Any
    transaction: str


def logs(rpc: Rpc, at: str, contract: str, events: Sequence[str], *indexed: str | list[str]) -> list[Log]:
    """The contract's events of these names, oldest first; where first indexed fields are named, those with them.

    indexed: 32 bytes as 0x hex, or a list of which any will do.  Raises `RpcError`, also for what is no such log.
    """
    names = {"0x" + abi.event_topic(contract, event).hex(): event for event in events}
    topics = [list(names) if len(names) > 1 else next(iter(names)), *indexed]
    return [
        _log(rpc, contract, names, log)
        for first, last in _pages(rpc, at)
        for log in rpc.call("eth_getLogs", {"address": at, "fromBlock": first, "toBlock": last, "topics": topics})
    ]


def _log(rpc: Rpc, contract: str, names: Mapping[str, str], log: dict[str, Any]) -> Log:
    try:
        event, topics = names[log["topics"][0]], [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        fields = abi.decode_event(contract, event, topics, bytes.fromhex(log["data"][2:]))
        block, transaction = int(log["blockNumber"], 16), str(log["transactionHash"])
        return Log(event, fields, block, log.get("blockHash"), transaction)
    except (LookupError, TypeError, ValueError, DecodingError) as error:
        raise RpcError(f"the node at {rpc.url} tells of an event of {contract} that is none: {error!r}") from error


def _pages(rpc: Rpc, at: str) -> list[tuple[str, str]]:
    """Ranges of blocks, both ends included, from the contract's first to the newest.

    Where the node has forgotten when the contract was made, all in one: some nodes take that, others say that they do
    not.
    """
    head = int(rpc.call("eth_blockNumber"), 16)
    since = _made(rpc, at, head)
    if since is None:
        return [(hex(0), hex(head))]
    return [(hex(first), hex(min(first + BLOCKS - 1, head))) for first in range(since, head + 1, BLOCKS)]


def _made(rpc: Rpc, at: str, head: int) -> int | None:
    """The block in which the contract was made, found by halving; None where the node does not know old states."""
    before, by = -1, head
    try:
        while by - before > 1:
            middle = (before + by) // 2
            if rpc.call("eth_getCode", at, hex(middle)) == "0x":
                before = middle
            else:
                by = middle
    except RpcError:
        return None
    return by
