"""Nodes that contradict each other: what one of them makes up, with hashes of blocks that are there, counts nowhere."""

from __future__ import annotations

import pytest

from openledger.abi import event_topic
from services.ledger import calls
from services.ledger.chain import ChainUnavailable, WrongChain
from services.ledger.chain_node import Node
from services.ledger.chain_quorum import Disagreement, Quorum
from services.ledger.chain_rpc import RpcChain
from services.ledger.deploy import deploy
from tests import chains
from tests.bad_node import bad_node, said
from tests.chains import CHAIN_ID, OPEN, OPERATOR, PAYER, STRANGER, TERMS, send
from tests.needs import needs

pytestmark = [needs("anvil"), pytest.mark.slow]
NEVER = "0x" + "ab" * 32


@pytest.fixture(scope="module")
def anvil():
    with chains.anvil(OPERATOR.address, STRANGER.address) as url:
        yield url


@pytest.fixture
def liar(anvil):
    with bad_node(anvil) as found:
        yield found


@pytest.fixture(params=("first", "witness"))
def both(request, anvil, liar, tmp_path):
    """Asked of two, either of which may be the one that lies; and the truth."""
    truth = RpcChain(
        Node.connect(anvil, CHAIN_ID), deploy(Node.connect(anvil, CHAIN_ID), OPERATOR, TERMS, tmp_path / "c")
    )
    first, second = (liar.url, anvil) if request.param == "first" else (anvil, liar.url)
    quorum = Quorum.connect_all(RpcChain(Node.connect(first, CHAIN_ID), truth.contracts), [second])
    send(truth, calls.approve(truth.contracts, truth.contracts.escrow, OPEN))
    send(truth, calls.deposit_for(truth.contracts, PAYER.address, OPEN))
    yield quorum, truth
    quorum.close()


def forged(head) -> dict[str, object]:
    """The receipt of a transaction that never was, in a block that is."""
    place = {"blockHash": head.hash, "blockNumber": hex(head.number), "transactionIndex": "0x0"}
    return {
        "transactionHash": NEVER,
        **place,
        "status": "0x1",
        "gasUsed": "0x5208",
        "cumulativeGasUsed": "0x5208",
        "contractAddress": None,
        "from": OPERATOR.address,
        "to": PAYER.address,
        "logs": [],
        "logsBloom": "0x" + "00" * 256,
        "type": "0x2",
        "effectiveGasPrice": "0x1",
    }


def test_a_receipt_that_one_makes_up_is_none(both, liar):
    quorum, truth = both
    made_up = forged(truth.head())
    liar.before = lambda r: said(r, made_up) if r["method"] == "eth_getTransactionReceipt" else True
    alone = RpcChain(Node.connect(liar.url, CHAIN_ID), truth.contracts)
    assert alone.receipt(NEVER).succeeded  # one node alone is trusted
    assert quorum.receipt(NEVER) is None


def test_a_status_that_one_turns_around_stops_the_other(both, liar):
    quorum, truth = both
    [deposit] = truth.deposits(0)

    def failed(request, answer):
        if request["method"] == "eth_getTransactionReceipt":
            answer["result"]["status"] = "0x0"
        return answer

    assert quorum.receipt(deposit.tx_hash).succeeded
    liar.after = failed
    with pytest.raises(Disagreement, match="contradict each other about transaction"):
        quorum.receipt(deposit.tx_hash)


@pytest.mark.parametrize("lie", ("one more", "none"))
def test_events_that_only_one_tells_stop_both(both, liar, lie):
    quorum, truth = both
    head = truth.head()

    def tell(request, answer):
        topic = "0x" + event_topic("InferenceEscrow", "Deposited").hex()
        if request["method"] == "eth_getLogs" and request["params"][0]["topics"] == [topic]:
            first = answer["result"][0]
            answer["result"] = [] if lie == "none" else [*answer["result"], {**first, "logIndex": "0x7"}]
        return answer

    assert list(quorum.deposits(0, head.number)) == list(truth.deposits(0, head.number))
    liar.after = tell
    with pytest.raises(Disagreement, match="deposits in blocks 0"):
        quorum.deposits(0, head.number)


def test_another_block_is_a_contradiction_and_one_that_is_not_there_yet_none(both, liar):
    quorum, truth = both
    head = truth.head()
    assert quorum.block(head.number) == head == quorum.head()
    liar.lag(head.number - 2)
    assert (quorum.head().number, quorum.block(head.number)) == (head.number - 2, None)
    liar.behave()

    def other(request, answer):
        if request["method"] == "eth_getBlockByNumber":
            answer["result"]["hash"] = NEVER
        return answer

    liar.after = other
    with pytest.raises(Disagreement):
        quorum.block(head.number)


def test_who_is_silent_holds_the_others_up(both, liar):
    quorum, _ = both
    liar.before = lambda request: None
    with pytest.raises(ChainUnavailable):
        quorum.head()


def test_a_witness_of_another_chain_is_none(anvil, liar, tmp_path):
    node = Node.connect(anvil, CHAIN_ID)
    chain = RpcChain(node, deploy(node, OPERATOR, TERMS, tmp_path / "contracts.json"))

    def other(request, answer):
        if request["method"] == "eth_getBlockByNumber" and request["params"][0] == "0x0":
            answer["result"]["hash"] = NEVER
        return answer

    liar.after = other
    with pytest.raises(WrongChain, match="a witness serves another chain"):
        Quorum.connect_all(chain, [liar.url])
