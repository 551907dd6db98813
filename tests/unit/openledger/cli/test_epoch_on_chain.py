"""Reading an epoch's events from nodes as there are: with a bound on what one may ask for, and without a memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from openledger import abi
from openledger.cli.chain_logs import BLOCKS
from openledger.cli.epoch_on_chain import DISTRIBUTOR, on_chain, proposals
from openledger.cli.rpc import RpcError
from openledger.epoch.report import run

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
