"""Compares the splits by which a bundle's receipts are with what the registry on chain says that held, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openledger.cli.chain_logs import Log, logs
from openledger.cli.rpc import Rpc, RpcError
from openledger.epoch.bundle import Bundle, Split
from openledger.epoch.report import Wrong
from openledger.epoch.splits import Use, used

REGISTRY = "ModelRegistry"
_ANY_OF = 100  # revisions in one question


@dataclass(frozen=True)
class Change:
    """A split that the chain says holds from a block on; `time` is the block's, in Unix seconds."""

    developer_bps: int
    stakers_bps: int
    time: int
    block: int
    transaction: str


def compare(rpc: Rpc, bundle: Bundle) -> str:
    """What was found, in words that go on.  Raises `Wrong`, and `RpcError`."""
    splits = bundle.manifest.splits
    if splits is None:
        return ""
    uses = used(bundle)
    if not uses:
        return ""
    if rpc.call("eth_getCode", splits.registry, "latest") == "0x":
        raise Wrong(f"there is no contract at {splits.registry}, which is named as the registry")
    told = changes(rpc, splits.registry, sorted({digest_of(use.split.revision) for use in uses}))
    for use in uses:
        _check(use, told[digest_of(use.split.revision)], splits.lag)
    return f", and the registry {splits.registry} the splits by which the answers of {len(uses)} were paid"


def changes(rpc: Rpc, registry: str, digests: list[str]) -> dict[str, list[Change]]:
    """What the registry says of revisions (hex SHA-256), oldest first.  Raises `RpcError`."""
    found: dict[str, list[Change]] = {digest: [] for digest in digests}
    times: dict[int, int] = {}
    # Of many, those of all are read and picked here: asked for some at a time, the chain would be read many times.
    only = [["0x" + digest for digest in digests]] if len(digests) <= _ANY_OF else []
    for log in logs(rpc, registry, REGISTRY, ["RevisionRegistered", "SplitChanged"], *only):
        of_one = found.get(log.fields["revision"].hex())
        if of_one is None:
            continue
        if log.block not in times:
            times[log.block] = _time(rpc, log.block)
        of_one.append(_change(log, times[log.block]))
    return found


def digest_of(revision: str) -> str:
    """The SHA-256 that a revision's name ends in; one of no registration where it ends in none."""
    digest = revision.rpartition("/")[2]
    return digest if len(digest) == 64 and not set(digest) - set("0123456789abcdef") else "0" * 64


def _time(rpc: Rpc, block: int) -> int:
    found = rpc.call("eth_getBlockByNumber", hex(block), False)
    try:
        return int(found["timestamp"], 16)
    except (LookupError, TypeError, ValueError) as error:
        raise RpcError(f"the node at {rpc.url} does not show block {block}, of which it tells events") from error


def _change(log: Log, time: int) -> Change:
    developer_bps, stakers_bps = log.fields["split"]
    return Change(developer_bps, stakers_bps, time, log.block, log.transaction)


def _check(use: Use, told: list[Change], lag: int) -> None:
    split = use.split
    place = -1 if split.since is None else _place(split, told)
    after = told[place + 1].time if place + 1 < len(told) else None
    if split.until is not None and split.until != after:
        raise Wrong(f"{_named(split)} is said to have ended at {split.until}, on chain it did at {after}")
    if after is not None and use.last is not None and use.last >= after + lag:
        raise Wrong(f"{_named(split)} ended at {after} on chain, and paid an answer that ended at {use.last}")


def _place(split: Split, told: list[Change]) -> int:
    """Which of the changes that the chain tells it is."""
    since = split.since
    assert since is not None
    said: Any = (split.developer_bps, split.stakers_bps, since.time, since.block, since.transaction)
    for place, change in enumerate(told):
        if said == (change.developer_bps, change.stakers_bps, change.time, change.block, change.transaction):
            return place
    raise Wrong(f"{_named(split)}, by {since.transaction} in block {since.block}, is not what the registry holds")


def _named(split: Split) -> str:
    parts = f"{split.developer_bps} and {split.stakers_bps} for {split.revision}"
    return f"the split {parts}" if split.since else f"that {split.revision} was not registered, split {parts},"
