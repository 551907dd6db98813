"""Adapter revisions on both kinds of chain: what is written, what is read back, and how a split changes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from openledger.abi import datanet_key, encode_call, snapshots_key
from services.ledger import calls
from services.ledger.chain import Call, CallReverted, Receipt
from services.ledger.chain_rpc import RpcChain
from services.ledger.registries import BASIS_POINTS, MIN_CONTRIBUTORS_BPS, Lineage, Split
from tests.chains import OPERATOR, STRANGER, TERMS, send

REVISION = b"\x0a" * 32
SNAPSHOTS = [("datanets/medical", 1, b"\x07" * 32), ("datanets/legal", 3, b"\x08" * 32)]
MADE = Lineage(b"\x0b" * 32, b"\x0c" * 32, SNAPSHOTS, STRANGER.address.lower())
SPLIT = Split(2000, 1000)
URI = "adapters/a/revisions/" + REVISION.hex()


@pytest.fixture
def anchored(chain: RpcChain) -> RpcChain:
    """With the snapshots that the revision was made from."""
    for datanet, version, root in SNAPSHOTS:
        send(chain, calls.commit_snapshot(chain.contracts, datanet, version, root, 10, ""))
    return chain


def register(chain: RpcChain, made: Lineage = MADE, split: Split = SPLIT) -> Call:
    return calls.register(chain.contracts, REVISION, made, split, URI)


def change(chain: RpcChain, function: str, *arguments: Any) -> Call:
    return Call(chain.contracts.models, encode_call("ModelRegistry", function, REVISION, *arguments))


def by_developer(chain: RpcChain, call: Call) -> Receipt:
    return send(chain, call, STRANGER)


def test_a_revision_is_registered_once(anchored: RpcChain) -> None:
    assert anchored.revision(REVISION) is None
    receipt = send(anchored, register(anchored))
    found = anchored.revision(REVISION)
    assert found is not None
    assert (found.index_root, found.base, found.developer) == (MADE.index_root, MADE.base, MADE.developer)
    assert found.snapshots == snapshots_key(SNAPSHOTS)
    assert (found.split, found.change, found.change_at) == (SPLIT, None, 0)
    block = anchored.block(receipt.block_number)
    assert block is not None
    assert found.registered_at == block.timestamp
    with pytest.raises(CallReverted, match="AlreadyRegistered"):
        anchored.estimate(OPERATOR.address, register(anchored, replace(MADE, index_root=b"\x01" * 32)))


def test_the_event_lists_what_the_storage_commits_to(anchored: RpcChain) -> None:
    block, at = send(anchored, register(anchored)).block_number, anchored.contracts.models
    (log,) = anchored.logs("ModelRegistry", at, "RevisionRegistered", block, block)
    fields = log["fields"]
    assert (fields["revision"], fields["base"], fields["developer"]) == (REVISION, MADE.base, MADE.developer)
    assert list(fields["snapshots"]) == [(datanet_key(datanet), *rest) for datanet, *rest in SNAPSHOTS]
    assert (fields["split"], fields["uri"]) == ((2000, 1000), URI)


@pytest.mark.parametrize(
    ("made", "split", "error"),
    (
        (replace(MADE, snapshots=[("datanets/medical", 1, b"\x08" * 32)]), SPLIT, "SnapshotNotCommitted"),
        (replace(MADE, snapshots=[("datanets/medical", 2, b"\x07" * 32)]), SPLIT, "SnapshotNotCommitted"),
        (replace(MADE, snapshots=[("datanets/medical", 2, bytes(32))]), SPLIT, "SnapshotNotCommitted"),
        (replace(MADE, snapshots=[]), SPLIT, "Incomplete"),
        (replace(MADE, index_root=bytes(32)), SPLIT, "Incomplete"),
        (replace(MADE, base=bytes(32)), SPLIT, "Incomplete"),
        (replace(MADE, developer="0x" + "0" * 40), SPLIT, "ZeroAddress"),
        (MADE, Split(4000, 1001), "SplitOutOfBounds"),
        (MADE, Split(65535, 65535), "SplitOutOfBounds"),
    ),
)
def test_what_the_registry_does_not_take(anchored: RpcChain, made: Lineage, split: Split, error: str) -> None:
    with pytest.raises(CallReverted, match=error):
        anchored.estimate(OPERATOR.address, register(anchored, made, split))


def test_only_the_committer_registers(anchored: RpcChain) -> None:
    with pytest.raises(CallReverted, match="NotCommitter"):
        anchored.estimate(STRANGER.address, register(anchored))


def test_the_bounds_here_are_the_contracts(chain: RpcChain) -> None:
    at = chain.contracts.models
    assert chain.read("ModelRegistry", at, "MIN_CONTRIBUTORS_BPS") == MIN_CONTRIBUTORS_BPS
    assert chain.read("ModelRegistry", at, "BASIS_POINTS") == BASIS_POINTS


def test_the_developer_changes_the_split_after_its_delay(anchored: RpcChain) -> None:
    send(anchored, register(anchored))
    proposal = change(anchored, "proposeSplit", (1000, 500))
    with pytest.raises(CallReverted, match="NotDeveloper"):
        anchored.estimate(OPERATOR.address, proposal)
    receipt = by_developer(anchored, proposal)
    block, found = anchored.block(receipt.block_number), anchored.revision(REVISION)
    assert block is not None
    assert found is not None
    assert (found.split, found.change) == (SPLIT, Split(1000, 500))
    assert found.change_at == block.timestamp + TERMS.split_delay
    while anchored.timestamp() < found.change_at:
        time.sleep(0.1)
    by_developer(anchored, change(anchored, "activateSplit"))
    assert anchored.revision(REVISION) == replace(found, split=Split(1000, 500), change=None, change_at=0)


def test_an_announced_change_is_taken_back(anchored: RpcChain) -> None:
    send(anchored, register(anchored))
    before = anchored.revision(REVISION)
    by_developer(anchored, change(anchored, "proposeSplit", (0, 0)))
    by_developer(anchored, change(anchored, "cancelSplit"))
    assert anchored.revision(REVISION) == before
    with pytest.raises(CallReverted, match="NothingProposed"):
        anchored.estimate(STRANGER.address, change(anchored, "activateSplit"))


def test_splits_are_told_with_the_time_of_their_blocks(anchored: RpcChain) -> None:
    made = send(anchored, register(anchored))
    by_developer(anchored, change(anchored, "proposeSplit", (1000, 500)))
    announced = anchored.revision(REVISION)
    assert announced is not None
    while anchored.timestamp() < announced.change_at:
        time.sleep(0.1)
    changed = by_developer(anchored, change(anchored, "activateSplit"))
    told = list(anchored.splits(made.block_number, changed.block_number))
    assert [(one.revision, one.split, one.tx_hash) for one in told] == [
        (REVISION.hex(), SPLIT, made.tx_hash),
        (REVISION.hex(), Split(1000, 500), changed.tx_hash),
    ]
    for one in told:
        block = anchored.block(one.block_number)
        assert block is not None
        assert (one.time, one.block_hash) == (block.timestamp, block.hash)
    assert list(anchored.splits(changed.block_number)) == told[1:]
    assert list(anchored.splits(made.block_number, made.block_number)) == told[:1]
