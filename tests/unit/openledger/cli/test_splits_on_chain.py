"""A bundle's splits beside what a registry tells: each must be there as it is named, and have lasted as long."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode

from openledger import abi
from openledger.cli.rpc import RpcError
from openledger.cli.splits_on_chain import REGISTRY, changes, compare
from openledger.epoch.bundle import open_bundle
from openledger.epoch.report import Wrong
from services.ledger.chain import SplitHolds
from services.ledger.registries import Split
from tests.epoch_world import LAG, Ledger
from tests.unit.openledger.epoch.test_splits import BEGIN, FIRST, OWN, SECOND, A, B, answered

REGISTERED, CHANGED = ("0x" + abi.event_topic(REGISTRY, name).hex() for name in ("RevisionRegistered", "SplitChanged"))
ZERO = "0x" + "0" * 40


class Node:
    """Tells of a registry what it is given: the first event of a revision is its registration."""

    url = "http://somewhere"

    def __init__(self, told: list[SplitHolds]) -> None:
        self.told, self.asked, self.logs_asked, self.code = told, 0, 0, "0x60"

    def call(self, method, *params):
        self.asked += 1
        if method == "eth_blockNumber":
            return hex(100)
        if method == "eth_getCode":
            return self.code
        if method == "eth_getBlockByNumber":
            time = next((one.time for one in self.told if hex(one.block_number) == params[0]), None)
            return None if time is None else {"timestamp": hex(time)}
        assert (method, params[0]["address"]) == ("eth_getLogs", "0x" + "9" * 40)
        self.logs_asked += 1
        kinds, *asked = params[0]["topics"]
        revisions = asked[0] if asked else {"0x" + one.revision for one in self.told}
        assert set(kinds) == {REGISTERED, CHANGED}
        seen, found = set(), []
        for one in self.told:
            first, known = one.revision not in seen, "0x" + one.revision
            seen.add(one.revision)
            if known in revisions:
                found.append(self.log(one, first=first))
        return found

    def log(self, one: SplitHolds, *, first: bool):
        split = (one.split.developer_bps, one.split.stakers_bps)
        where = {"blockNumber": hex(one.block_number), "transactionHash": one.tx_hash}
        if not first:
            data = encode(["(uint16,uint16)"], [split])
            return {"topics": [CHANGED, "0x" + one.revision], "data": "0x" + data.hex(), **where}
        data = encode(["bytes32", "(bytes32,uint64,bytes32)[]", "(uint16,uint16)", "string"], [b"", [], split, "a"])
        topics = [REGISTERED, "0x" + one.revision, "0x" + "0" * 64, "0x" + "0" * 64]
        return {"topics": topics, "data": "0x" + data.hex(), **where}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What the chain tells, and the bundle of answers around it."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    told = [ledger.hold(A, FIRST, BEGIN), ledger.hold(A, SECOND, BEGIN + 10_000)]
    digest = ledger.close(
        answered(A, OWN, BEGIN - 5_000),
        answered(A, FIRST, BEGIN + 9_000),
        answered(A, SECOND, BEGIN + 20_000),
        answered(B, OWN, BEGIN + 20_000),
    )
    return ledger, told, digest


def checked(world, told) -> str:
    ledger, _, digest = world
    return compare(Node(told), open_bundle(ledger.artifacts.root, digest))


def test_what_the_registry_holds_is_said_to_be_there(world):
    assert "the splits by which the answers of 4 were paid" in checked(world, world[1])


def test_a_later_change_is_none_of_the_bundles(world):
    later = SplitHolds("a" * 64, OWN, BEGIN + 20_000 - LAG + 1, 50, "0x", "0x" + "5" * 64, 0)
    assert checked(world, [*world[1], later])


def without(place):
    return lambda told: [one for at, one in enumerate(told) if at != place]


def but(place, **changes):
    from dataclasses import replace

    return lambda told: [replace(one, **changes) if at == place else one for at, one in enumerate(told)]


def and_then(revision, time):
    return lambda told: [*told, SplitHolds(revision, OWN, time, 50, "0x", "0x" + "5" * 64, 0)]


@pytest.mark.parametrize(
    ("change", "words"),
    (
        (lambda told: [], "is said to have ended"),
        (without(0), "is said to have ended"),
        (without(1), "is said to have ended"),
        (but(0, split=Split(1501, 500)), "is not what the registry holds"),
        (but(0, time=BEGIN + 1), "is said to have ended"),
        (but(1, time=BEGIN + 9_000), "is said to have ended"),
        (but(1, tx_hash="0x" + "7" * 64), "is not what the registry holds"),
        (but(1, block_number=77), "is not what the registry holds"),
        # It was registered, or changed, so long before the last answer that this one cannot be by what was before.
        (and_then("b" * 64, BEGIN + 20_000 - LAG), "and paid an answer that ended at"),
        (and_then("a" * 64, BEGIN + 20_000 - LAG), "and paid an answer that ended at"),
    ),
)
def test_what_the_registry_does_not_hold_is_found(world, change, words):
    with pytest.raises(Wrong, match=words):
        checked(world, change(world[1]))


@pytest.mark.parametrize("broken", ("log", "block"))
def test_nonsense_is_the_nodes_fault(world, broken, monkeypatch):
    if broken == "log":
        monkeypatch.setattr(Node, "log", lambda self, one, *, first: {"topics": [CHANGED]})
    else:
        real = Node.call
        monkeypatch.setattr(
            Node, "call", lambda self, m, *p: None if m == "eth_getBlockByNumber" else real(self, m, *p)
        )
    with pytest.raises(RpcError):
        checked(world, world[1])


def test_a_bundle_of_the_base_model_alone_asks_nothing(tmp_path):
    ledger = Ledger(tmp_path)
    digest, node = ledger.close(answered("", OWN, BEGIN)), Node([])
    assert compare(node, open_bundle(ledger.artifacts.root, digest)) == ""
    assert node.asked == 0
    ledger.database.close()


def test_a_registry_that_is_no_contract_is_found(tmp_path):
    """It would tell of nothing, so that nothing would contradict that no revision was ever registered."""
    ledger = Ledger(tmp_path)
    digest, node = ledger.close(answered(A, OWN, BEGIN)), Node([])
    compare(node, open_bundle(ledger.artifacts.root, digest))
    node.code = "0x"
    with pytest.raises(Wrong, match="there is no contract at"):
        compare(node, open_bundle(ledger.artifacts.root, digest))
    ledger.database.close()


def test_of_many_revisions_the_chain_is_read_once():
    told = [SplitHolds(f"{number:064x}", FIRST, BEGIN, number, "0x", "0x" + "5" * 64, 0) for number in range(1, 252)]
    node = Node(told)
    found = changes(node, "0x" + "9" * 40, [one.revision for one in told[:-1]])
    assert {digest: len(of_one) for digest, of_one in found.items()} == {one.revision: 1 for one in told[:-1]}
    assert node.logs_asked == 1
