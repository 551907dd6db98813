"""Reading an epoch's events from nodes as there are: with a bound on what one may ask for, and without a memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from eth_abi import encode

from openledger import abi
from openledger.cli import splits_on_chain
from openledger.cli.chain_logs import BLOCKS
from openledger.cli.epoch_on_chain import DISTRIBUTOR, on_chain, proposals
from openledger.cli.rpc import RpcError
from openledger.epoch.bundle import open_bundle
from openledger.epoch.report import Report, run
from tests.epoch_tampering import RECEIPTS, answered
from tests.epoch_world import CHAIN_ID, Ledger, failed

AT = "0x" + "9" * 40
STRUCK = "0x" + abi.event_topic(DISTRIBUTOR, "RootsStruck").hex()


class Node:
    """Holds one contract, made in block `made`; it refuses more than `most` blocks, and old states if `pruned`."""

    def __init__(self, made: int, head: int, strikes: dict[int, tuple[int, int]], most=BLOCKS, *, pruned=False) -> None:
        self.made, self.head, self.strikes, self.most, self.pruned = made, head, strikes, most, pruned
        self.asked, self.url = 0, "http://somewhere"

    def call(self, method, *params):
        self.asked += 1
        if method == "eth_blockNumber":
            return hex(self.head)
        if method == "eth_getCode":
            if self.pruned and int(params[1], 16) < self.head - 128:
                raise RpcError("missing trie node")
            return "0x60" if int(params[1], 16) >= self.made else "0x"
        assert method == "eth_getLogs"
        first, last = (int(params[0][end], 16) for end in ("fromBlock", "toBlock"))
        if last - first + 1 > self.most:
            raise RpcError("eth_getLogs: block range is too wide")
        if params[0]["topics"][0] != STRUCK:
            return []
        found = [(block, pair) for block, pair in sorted(self.strikes.items()) if first <= block <= last]
        return [
            {
                "topics": [STRUCK, f"0x{a:064x}"],
                "data": f"0x{b:064x}",
                "blockNumber": hex(block),
                "transactionHash": "0x",
            }
            for block, (a, b) in found
        ]


@pytest.mark.parametrize(("made", "head"), ((0, 5_000), (1, 5_001), (7_000_123, 7_010_000), (7_009_999, 7_010_000)))
def test_events_are_read_page_by_page_from_where_the_contract_was_made(made, head):
    node = Node(made, head, {made: (1, 1), head - 1: (1, 3), head: (4, 4)})
    found = proposals(node, AT, 3)
    assert (found.struck, found.proposed, found.standing) == (1, [], None)
    assert node.asked < 80


def test_logs_that_are_none_are_the_nodes_fault():
    node = Node(0, 10, {})
    node.number = lambda method: 31337
    node.call = lambda method, *params: {
        "eth_blockNumber": "0xa",
        "eth_getCode": "0x60",
        "eth_getLogs": [{"topics": [STRUCK], "data": "0x"}],
    }[method]
    bundle = SimpleNamespace(manifest=SimpleNamespace(chain_id=31337, distributor=AT, epoch=1))
    found = run("chain", lambda at: on_chain(at, bundle), node)
    assert (found.ok, "the chain's answer" in found.words) == (None, True)


def test_a_node_without_a_memory_is_asked_for_all_at_once():
    assert proposals(Node(5, 9_000, {5: (1, 1), 8_000: (1, 2)}, most=10**9, pruned=True), AT, 1).struck == 2
    with pytest.raises(RpcError, match="too wide"):
        proposals(Node(5, 9_000, {}, pruned=True), AT, 1)


PROPOSED = "0x" + abi.event_topic(DISTRIBUTOR, "RootProposed").hex()


class Chain(Node):
    """Holds the roots of these manifests, each under the bundle's name, oldest first; none was struck out."""

    def __init__(self, ledger, digests) -> None:
        super().__init__(0, 10, {})
        self.held = [self.log(ledger.manifest(digest), digest) for digest in digests]

    @staticmethod
    def log(manifest, digest):
        types = ("bytes32", "bytes32", "uint128", "uint32", "uint64", "string")
        roots = (bytes.fromhex(manifest[name]) for name in ("root", "log_root"))
        data = encode(types, (*roots, int(manifest["total"]), 0, 0, f"sha256:{digest}"))
        topics = [PROPOSED, f"0x{int(manifest['epoch']):064x}"]
        return {"topics": topics, "data": "0x" + data.hex(), "blockNumber": "0x1", "transactionHash": "0x"}

    def number(self, _method):
        return CHAIN_ID

    def read(self, _contract, _at, function, *_):
        assert function == "maxEpochIncrease"
        return (2**128,)

    def call(self, method, *params):
        if method == "eth_getLogs" and (asked := params[0]["topics"])[0] == PROPOSED:
            return [log for log in self.held if log["topics"][: len(asked)] == asked]
        return super().call(method, *params)


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(splits_on_chain, "compare", lambda *_: "")
    return Ledger(tmp_path)


def checked(ledger, chain, digest, **more):
    bundle = open_bundle(ledger.artifacts.root, digest)
    return run("chain", lambda at: on_chain(at, bundle, **more), chain)


def test_the_bundles_of_before_are_those_that_stood(ledger):
    digests = [ledger.close(answered()) for _ in range(3)]
    chain = Chain(ledger, digests)
    found = checked(ledger, chain, digests[2])
    assert found.ok, found.words
    assert "roots and bundles of epochs 2 back to 1 that are named here" in found.words
    assert "the root of epoch 2 and its bundle" in checked(ledger, chain, digests[2], alone=True).words
    assert "the root of epoch 1 and its bundle" in checked(ledger, chain, digests[1]).words


@pytest.mark.parametrize("steps", (1, 2))
def test_an_epoch_that_names_a_doctored_bundle_of_before_to_pay_an_answer_again_is_found(ledger, steps):
    """The same leaves and root, without the receipt of an answer that is booked again; however far back."""
    one = answered()
    stood = [ledger.close(one, answered()), *(ledger.close(answered()) for _ in range(steps))]
    ledger.forget_answers()
    last = ledger.close(one, answered())
    assert failed(ledger.check(last)).keys() == {"once"}
    named = ledger.rewrite(stood[0], RECEIPTS, ledger.rows(stood[0], RECEIPTS)[1:])
    for digest in (*stood[1:], last):
        named = ledger.forge(digest, previous=ledger.manifest(digest)["previous"] | {"bundle": named})
    # The epochs between were proposed as forged; the first one, whose fault it is, stands as it was.
    chain = Chain(ledger, [stood[0], *forged(ledger, named)])
    report = ledger.check(named)
    assert report.ok, "by its bundles alone nothing is wrong"
    found = checked(ledger, chain, named)
    assert not found.ok
    assert f"the bundle of epoch 1 on chain is sha256:{stood[0]}" in found.words
    assert Report((*report.checks, found)).failed == (found,)


def forged(ledger, digest):
    """The bundles from the second epoch to this one, as they name each other."""
    found = []
    while (previous := ledger.manifest(digest)["previous"]) is not None:
        found.append(digest)
        digest = previous["bundle"]
    return found[::-1]
