"""The ledger's chain side on a node that is silent, garbles, lies, lags behind, or serves another chain; and dear gas.

Whatever it does, nothing is lost or done twice, and when it behaves again the ledger equals the chain.
"""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from services.kit import logs
from services.ledger import calls, journal
from services.ledger.chain import ChainError, ChainUnavailable, WrongChain
from services.ledger.signing import Patience, signed_terms
from services.ledger.store import chain as sent
from services.ledger.store import epochs
from services.ledger.store.chain import State
from tests import chains
from tests.bad_node import bad_node, said
from tests.chains import OPEN, OPERATOR, STRANGER
from tests.needs import needs
from tests.reorg_world import Ledger, World

pytestmark = [needs("anvil"), pytest.mark.slow]
GWEI = 10**9


@pytest.fixture(autouse=True, scope="module")
def _logs():
    logs.configure("critical")
    yield
    logs.configure("warning")


@pytest.fixture(scope="module")
def anvil():
    with chains.anvil(OPERATOR.address, STRANGER.address) as url:
        yield url


@pytest.fixture
def node(anvil):
    with bad_node(anvil) as found:
        yield found


@pytest.fixture
async def world(node, tmp_path):
    """Money has come in, was spent, and its epoch is closed: there is much to do."""
    ledger = Ledger(tmp_path, node.url, confirmations=1)
    found = World(ledger, random.Random(1))
    await found.deposit(found.payers[0])
    await found.quiet()
    await found.answer(found.payers[0])
    await found.close(found.payers[0])
    yield found
    ledger.close()


def only(method, answer):
    """That answer to that method, and none of its own to others."""
    return lambda request: answer(request) if request["method"] == method else True


SILENT = lambda request: None  # noqa: E731
GARBLED = (b"<html>502 Bad Gateway</html>", b"{", b"[]", b"null", b'{"jsonrpc": "2.0", "id": 1, "result": {"a": 1}}')


@pytest.mark.parametrize("status", (200, 500))
@pytest.mark.parametrize("answer", (None, *GARBLED))
async def test_a_node_that_is_silent_or_garbles_is_waited_for(world, node, answer, status):
    node.status, node.before = status, lambda request: answer
    for step in (world.ledger.writer.step, world.ledger.follow, world.ledger.settle):
        with suppress(ChainError):  # and nothing else
            await step()
    node.behave()
    await world.quiet()
    world.agree()


@pytest.mark.parametrize("method", ("eth_sendRawTransaction", "eth_getTransactionReceipt", "eth_getLogs", "eth_call"))
async def test_answers_that_are_lost_do_nothing_twice(world, node, method):
    """The node did what it was asked to, and nobody heard of it."""
    lost = iter(range(6))
    node.after = lambda request, answer: (
        None if request["method"] == method and next(lost, None) is not None else answer
    )
    for _ in range(12):
        with suppress(ChainUnavailable):
            world.mine()
            await world.ledger.step()
    node.behave()
    await world.quiet()
    world.agree()
    keys = [row.key for row in world.ledger.read(lambda c: c.execute(sent.TRANSACTION.select()).all())]
    assert sorted(key.split(":")[0] for key in keys) == ["redeem", "root"]


@pytest.mark.parametrize("field", ("blockHash", "transactionHash", "blockNumber"))
async def test_a_receipt_that_does_not_fit_the_chain_is_not_believed(world, node, field):
    wrong = {"blockHash": "0x" + "ab" * 32, "transactionHash": "0x" + "cd" * 32, "blockNumber": "0x1"}[field]

    def lie(request, answer):
        if request["method"] == "eth_getTransactionReceipt" and answer["result"]:
            return {**answer, "result": {**answer["result"], field: wrong}}
        return answer

    node.after = lie
    for _ in range(5):
        await world.ledger.step()
    assert not world.ledger.read(lambda c: [t for t in sent.unfinished(c) if t.state is not State.SIGNED])
    assert world.ledger.read(lambda c: epochs.oldest(c, epochs.State.SEALED))
    node.behave()
    await world.quiet()
    world.agree()


async def test_a_node_that_goes_back_in_time_undoes_nothing_and_sends_nothing_twice(world, node):
    await world.quiet()
    before = world.ledger.read(lambda c: c.execute(sent.TRANSACTION.select()).all())
    held = world.ledger.balance(journal.ESCROW)
    node.lag(world.chain.head().number - 6)
    for _ in range(4):
        await world.ledger.step()
    assert world.ledger.read(lambda c: c.execute(sent.TRANSACTION.select()).all()) == before
    assert world.ledger.balance(journal.ESCROW) == held
    assert world.ledger.follower._node_behind._value.get() > 0
    node.behave()
    await world.quiet()
    world.agree()


async def test_one_of_two_nodes_is_behind_and_the_ledger_asks_both(world, node):
    """As behind a load balancer: the one that lags is asked now and then, and tells what it has of events."""
    draw, head = random.Random(5), world.chain.head().number
    for turn in range(30):
        node.behave()
        if turn % 3 == 0:
            await world.deposit(world.payers[turn % 2])
        node.lag(head)
        behind, cut, lags = node.before, node.after, [False]

        def before(request, behind=behind, lags=lags):
            lags[0] = draw.random() < (0.5 if request["method"] == "eth_getLogs" else 0.1)
            return behind(request) if lags[0] else True

        node.before = before
        node.after = lambda request, answer, cut=cut, lags=lags: cut(request, answer) if lags[0] else answer
        with suppress(ChainError):
            await world.ledger.step()
    node.behave()
    await world.quiet()
    world.agree()
    assert world.ledger.metrics.registry.get_sample_value("openledger_ledger_sums_doubted") == 0


async def test_another_chains_node_is_refused_and_nothing_is_signed_for_it(world, node):
    node.before = only("eth_chainId", lambda request: said(request, "0x5"))
    await world.ledger.settle()  # plans
    with pytest.raises(WrongChain, match="serves chain 5"):
        await world.ledger.writer.step()
    assert {t.state for t in world.ledger.read(sent.unfinished)} == {State.PLANNED}
    node.behave()
    await world.quiet()
    world.agree()


async def test_a_chain_of_the_same_id_with_another_beginning_takes_nothing_back(world, node):
    await world.quiet()
    held = world.ledger.balance(journal.ESCROW)

    def other(request, answer):
        if request["method"] == "eth_getBlockByNumber" and answer["result"]:
            return {**answer, "result": {**answer["result"], "hash": "0x" + "ee" * 32}}
        return answer

    node.after = other
    for step in (world.ledger.follow, world.ledger.writer.step):
        with pytest.raises(WrongChain, match="first block"):
            await step()
    assert world.ledger.balance(journal.ESCROW) == held
    node.behave()
    await world.quiet()
    world.agree()


# --- deposits that never were


async def test_a_deposit_that_was_reverted_is_none(world):
    await world.quiet()
    held = world.ledger.balance(journal.ESCROW)
    await world.reverted(world.payers[1])
    await world.quiet()
    world.agree()
    assert world.ledger.balance(journal.ESCROW) == held


# --- gas


async def test_gas_over_the_cap_is_waited_out(world, anvil):
    await world.quiet()
    writer, metrics = world.ledger.writer, world.ledger.metrics.registry
    writer._cap = 10 * GWEI
    chains.rpc(anvil, "anvil_setNextBlockBaseFeePerGas", hex(50 * GWEI))
    chains.rpc(anvil, "evm_mine")
    await world.anchor(world.payers[0])
    for _ in range(2):
        await writer.step()
    [waiting] = world.ledger.read(sent.unfinished)
    assert waiting.state is State.PLANNED
    assert metrics.get_sample_value("openledger_ledger_transactions_priced_out") == 1
    chains.rpc(anvil, "anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    await world.quiet()
    assert world.ledger.read(lambda c: sent.get(c, waiting.key)).state is State.FINAL
    assert metrics.get_sample_value("openledger_ledger_transactions_priced_out") == 0
    world.agree()


async def test_when_gas_rises_the_offer_follows_and_one_of_both_is_mined(world, anvil):
    await world.quiet()
    ledger, writer = world.ledger, world.ledger.writer
    writer._stuck._patience = Patience(500 * GWEI, 0)
    writer._cap = 500 * GWEI
    chains.rpc(anvil, "evm_setAutomine", False)
    try:
        await world.anchor(world.payers[0])
        await writer.step()
        [first] = ledger.read(sent.unfinished)
        offered = signed_terms(first.raw)[1]
        for _ in range(8):
            chains.rpc(anvil, "anvil_setNextBlockBaseFeePerGas", hex(offered.max_fee + GWEI))
            chains.rpc(anvil, "evm_mine")
            await writer.step()
    finally:
        chains.rpc(anvil, "evm_setAutomine", True)
    chains.rpc(anvil, "anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    await world.quiet()
    ended = ledger.read(lambda c: sent.get(c, first.key))
    assert (ended.state, ended.nonce) == (State.FINAL, first.nonce)
    assert ended.hash != first.hash
    assert ledger.chain.receipt(first.hash) is None
    world.agree()


async def test_money_that_came_and_went_is_a_debt_until_it_comes_again(world):
    """A deposit that was spent vanishes, deeper than the confirmations; the epoch waits until it is made good."""
    await world.quiet()
    payer, ledger = world.payers[1], world.ledger
    head = world.chain.head().number
    world.others(STRANGER, calls.deposit_for(ledger.at, payer.address, 5 * OPEN))
    world.mine()
    await ledger.follow()
    await world.answer(payer)
    fee = world.fees[payer.address]
    assert fee
    world.rpc("anvil_reorg", world.chain.head().number - head, [])
    world.mine()
    await ledger.step()
    await ledger.follow()
    metrics = ledger.metrics.registry
    assert ledger.balance(journal.payer(payer.address)) == -fee
    assert metrics.get_sample_value("openledger_ledger_payer_debt_open") == float(fee)
    await world.close(payer)
    for _ in range(6):
        world.mine()
        await ledger.step()
    assert metrics.get_sample_value("openledger_ledger_underfunded_open") > 0
    assert ledger.read(epochs.newest).state is epochs.State.SEALED
    world.others(STRANGER, calls.deposit_for(ledger.at, payer.address, 5 * OPEN))
    await world.quiet()
    world.agree()
    assert metrics.get_sample_value("openledger_ledger_payer_debt_open") == 0
    assert metrics.get_sample_value("openledger_ledger_underfunded_open") == 0
