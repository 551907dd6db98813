"""The chain port, the same tests on the embedded development chain and on anvil: what one does, the other must do."""

from __future__ import annotations

import socket
import time

import pytest
from eth_account import Account

from openledger.abi import encode_call
from openledger.claims import ClaimTree
from openledger.spending import SpendingAuthorisation, authorisation_message, permit_message
from openledger.spending import sign as sign_typed
from services.ledger import calls
from services.ledger.chain import (
    Call,
    CallReverted,
    ChainUnavailable,
    NodeRefused,
    NonceTooLow,
    Receipt,
    TransactionRejected,
    WrongChain,
)
from services.ledger.chain_node import Node
from services.ledger.chain_rpc import RpcChain
from services.ledger.signing import Fees, sign
from tests.chains import CHAIN_ID, EARNERS, OPEN, OPERATOR, PAYER, STRANGER, mined, send

FAR = 4_000_000_000  # Unix seconds


def prepay(chain: RpcChain, amount: int) -> Receipt:
    """Gives the payer OPEN and deposits it by the payer's permit; the operator sends and pays the gas."""
    send(chain, calls.transfer(chain.contracts, PAYER.address, amount))
    nonce = chain.permit_nonce(PAYER.address)
    permit = permit_message(
        CHAIN_ID,
        chain.contracts.token,
        owner=PAYER.address,
        spender=chain.contracts.escrow,
        value=amount,
        nonce=nonce,
        deadline=FAR,
    )
    signature = sign_typed(permit, PAYER.key)
    return send(chain, calls.deposit_with_permit(chain.contracts, PAYER.address, amount, FAR, signature))


def authorised(chain: RpcChain, cap: int, spent: int) -> calls.Redemption:
    authorisation = SpendingAuthorisation(PAYER.address.lower(), cap, FAR)
    message = authorisation_message(CHAIN_ID, chain.contracts.escrow, authorisation)
    return calls.Redemption(authorisation, spent, sign_typed(message, PAYER.key))


def wait_until_active(chain: RpcChain, epoch: int) -> None:
    deadline = time.monotonic() + 20
    while chain.active_epoch() < epoch:
        assert time.monotonic() < deadline, f"epoch {epoch} does not become active"
        time.sleep(0.1)


# --- the main path


def test_a_fee_goes_from_the_payer_to_the_earners(chain: RpcChain) -> None:
    at = chain.contracts
    prepay(chain, 10 * OPEN)
    send(chain, calls.redeem(at, [authorised(chain, 8 * OPEN, 6 * OPEN)]))
    assert (chain.balance(PAYER.address), chain.spent(PAYER.address)) == (4 * OPEN, 6 * OPEN)
    assert chain.funded() == 6 * OPEN

    amounts = dict(zip(EARNERS, (1 * OPEN, 2 * OPEN, 3 * OPEN), strict=True))
    tree = ClaimTree.build(CHAIN_ID, at.distributor, amounts)
    send(chain, calls.propose_root(at, 1, tree.root, b"\x09" * 32, tree.total, len(amounts), "sha256:00"))
    held = chain.epoch(1)
    assert held is not None
    assert (held.root, held.log_root, held.cumulative_total, held.leaf_count) == (
        tree.root,
        b"\x09" * 32,
        6 * OPEN,
        3,
    )
    wait_until_active(chain, 1)

    leaves = [calls.ClaimLeaf(account, amounts[account], tree.proof(account)) for account in EARNERS]
    send(chain, calls.claim(at, 1, leaves[0]), STRANGER)
    send(chain, calls.claim_many(at, 1, leaves))
    assert [chain.token_balance(account) for account in EARNERS] == list(amounts.values())
    assert [chain.claimed(account) for account in EARNERS] == list(amounts.values())
    assert chain.total_claimed() == chain.funded() == 6 * OPEN
    assert chain.token_balance(at.distributor) == 0
    assert chain.token_balance(at.escrow) == chain.balance(PAYER.address)


def test_a_snapshot_is_anchored_once(chain: RpcChain) -> None:
    assert chain.snapshot("datanets/medical", 1) is None
    call = calls.commit_snapshot(chain.contracts, "datanets/medical", 1, b"\x07" * 32, 150, "sha256:00")
    receipt = send(chain, call)
    anchored = chain.snapshot("datanets/medical", 1)
    assert anchored is not None
    assert (anchored.root, anchored.records) == (b"\x07" * 32, 150)
    block = chain.block(receipt.block_number)
    assert block is not None
    assert (block.hash, block.timestamp) == (receipt.block_hash, anchored.committed_at)
    with pytest.raises(CallReverted, match="AlreadyCommitted"):
        chain.estimate(OPERATOR.address, call)


def test_deposits_are_read_by_range_with_their_identity(chain: RpcChain) -> None:
    first, second = prepay(chain, 3 * OPEN), prepay(chain, 4 * OPEN)
    found = list(chain.deposits(chain.contracts.block))
    assert [(d.payer, d.amount, d.total) for d in found] == [
        (PAYER.address.lower(), 3 * OPEN, 3 * OPEN),
        (PAYER.address.lower(), 4 * OPEN, 7 * OPEN),
    ]
    assert [(d.tx_hash, d.block_hash, d.block_number) for d in found] == [
        (r.tx_hash, r.block_hash, r.block_number) for r in (first, second)
    ]
    assert list(chain.deposits(second.block_number)) == found[1:]
    assert list(chain.deposits(first.block_number, second.block_number - 1)) == found[:1]
    assert list(chain.deposits(second.block_number + 1)) == []


# --- signing and sending


def test_signing_is_pure_and_deterministic(node: Node) -> None:
    before = node.nonce(OPERATOR.address, pending=True)
    call = Call(STRANGER.address.lower(), b"", 1)
    fees = node.fees()
    twice = [sign(OPERATOR, call, chain_id=CHAIN_ID, nonce=before, gas=21_000, fees=fees) for _ in range(2)]
    assert twice[0] == twice[1]
    assert Account.recover_transaction(twice[0].raw) == OPERATOR.address
    assert node.nonce(OPERATOR.address, pending=True) == before
    assert node.receipt(twice[0].hash) is None


def test_sending_the_same_bytes_twice_happens_once(node: Node) -> None:
    nonce = node.nonce(OPERATOR.address)
    call = Call(EARNERS[0], b"", 1)
    signed = sign(OPERATOR, call, chain_id=CHAIN_ID, nonce=nonce, gas=21_000, fees=node.fees())
    assert node.broadcast(signed.raw) == signed.hash
    mined(node, signed.hash)
    assert node.broadcast(signed.raw) == signed.hash
    assert node.nonce(OPERATOR.address, pending=True) == nonce + 1


def test_a_used_nonce_is_told_apart(node: Node) -> None:
    nonce = node.nonce(OPERATOR.address)
    send(node, Call(EARNERS[0], b"", 1))
    late = sign(OPERATOR, Call(EARNERS[1], b"", 1), chain_id=CHAIN_ID, nonce=nonce, gas=21_000, fees=node.fees())
    with pytest.raises(NonceTooLow):
        node.broadcast(late.raw)
    assert node.receipt(late.hash) is None


def test_a_sender_without_ether_is_rejected(node: Node) -> None:
    signed = sign(PAYER, Call(EARNERS[0], b"", 1), chain_id=CHAIN_ID, nonce=0, gas=21_000, fees=node.fees())
    with pytest.raises(TransactionRejected):
        node.broadcast(signed.raw)


def test_another_chains_transaction_is_rejected(node: Node) -> None:
    nonce = node.nonce(OPERATOR.address)
    signed = sign(OPERATOR, Call(EARNERS[0], b"", 1), chain_id=5, nonce=nonce, gas=21_000, fees=node.fees())
    with pytest.raises(TransactionRejected):
        node.broadcast(signed.raw)


def test_a_failed_transaction_is_mined_as_failed(chain: RpcChain) -> None:
    call = calls.veto(chain.contracts, 1, "")  # the operator is not the guardian
    nonce = chain.nonce(OPERATOR.address)
    signed = sign(OPERATOR, call, chain_id=CHAIN_ID, nonce=nonce, gas=200_000, fees=chain.fees())
    assert not mined(chain, chain.broadcast(signed.raw)).succeeded


def test_the_contracts_reasons_are_named(chain: RpcChain) -> None:
    with pytest.raises(CallReverted) as failed:
        chain.estimate(OPERATOR.address, calls.propose_root(chain.contracts, 1, b"\x01" * 32, b"", 5, 1, ""))
    assert (failed.value.error, failed.value.arguments_) == ("Insolvent", (5, 0))
    assert chain.epoch(1) is None


def test_a_nonce_is_known_for_the_past_too(node: Node) -> None:
    before = node.nonce(OPERATOR.address)
    receipt = send(node, Call(EARNERS[0], b"", 1))
    assert node.nonce(OPERATOR.address, block=receipt.block_number) == before + 1
    assert node.nonce(OPERATOR.address, block=receipt.block_number - 1) == before


def test_a_price_is_what_the_next_block_asks_for(node: Node) -> None:
    price, fees = node.price(), node.fees()
    assert fees == Fees(2 * price.base + price.tip, price.tip)


# --- the clock and the blocks


def test_time_passes_without_transactions(node: Node) -> None:
    before = node.timestamp()
    deadline = time.monotonic() + 10
    while node.timestamp() <= before:
        assert time.monotonic() < deadline, "the chain's clock stands still"
        time.sleep(0.1)


def test_blocks_are_chained(node: Node) -> None:
    send(node, Call(EARNERS[0], b"", 1))
    head = node.head()
    parent = node.block(head.number - 1)
    assert parent is not None
    assert head.parent_hash == parent.hash
    assert head.timestamp >= parent.timestamp
    assert node.block(head.number + 1000) is None
    assert node.finalized_number() <= head.number


# --- connecting


def test_another_chain_id_is_refused(url: str) -> None:
    with pytest.raises(WrongChain, match="serves chain 31337, but 1 is configured"):
        Node.connect(url, 1)


def test_a_node_that_serves_another_chain_later_is_found_out(url: str) -> None:
    node = Node.connect(url, CHAIN_ID)
    node.check()
    node.genesis = "0x" + "0" * 64
    with pytest.raises(WrongChain, match="its first block is"):
        node.check()


def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ChainUnavailable):
            Node.connect(f"http://127.0.0.1:{unused.getsockname()[1]}", CHAIN_ID)


def test_a_silent_node_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(ChainUnavailable):
            Node.connect(f"http://127.0.0.1:{silent.getsockname()[1]}", CHAIN_ID, timeout=0.2)
        assert time.monotonic() - started < 10


def test_reading_where_no_contract_is_says_so(node: Node) -> None:
    with pytest.raises(NodeRefused, match="there is no OpenToken"):
        node.read("OpenToken", EARNERS[0], "cap")


def test_claims_and_withdrawals_are_read_as_events(chain: RpcChain) -> None:
    at = chain.contracts
    prepay(chain, 2 * OPEN)
    send(chain, calls.redeem(at, [authorised(chain, 1 * OPEN, 1 * OPEN)]))
    tree = ClaimTree.build(CHAIN_ID, at.distributor, {EARNERS[0]: OPEN})
    send(chain, calls.propose_root(at, 1, tree.root, b"\x09" * 32, tree.total, 1, ""))
    wait_until_active(chain, 1)
    receipt = send(chain, calls.claim(at, 1, calls.ClaimLeaf(EARNERS[0], OPEN, [])))
    (taken,) = chain.redemptions(at.block)
    assert (taken.payer, taken.amount, taken.cumulative) == (PAYER.address.lower(), OPEN, OPEN)
    (claimed,) = chain.claims(at.block)
    assert (claimed.account, claimed.epoch, claimed.amount, claimed.cumulative) == (EARNERS[0], 1, OPEN, OPEN)
    assert (claimed.tx_hash, claimed.block_hash) == (receipt.tx_hash, receipt.block_hash)

    send(chain, calls.approve(at, at.escrow, OPEN))
    send(chain, calls.deposit_for(at, OPERATOR.address, OPEN))
    asked = send(chain, Call(at.escrow, encode_call("InferenceEscrow", "initiateWithdraw", OPEN)))
    (withdrawal,) = chain.withdrawals(at.block)
    assert (withdrawal.payer, withdrawal.amount, withdrawal.paid) == (OPERATOR.address.lower(), OPEN, False)
    assert withdrawal.tx_hash == asked.tx_hash


def test_no_signature_holds_where_no_wallet_contract_is(chain: RpcChain) -> None:
    assert not chain.accepts_signature(EARNERS[0], b"\x01" * 32, b"")
    assert not chain.accepts_signature(chain.contracts.token, b"\x01" * 32, b"")
