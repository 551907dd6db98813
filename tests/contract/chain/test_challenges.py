"""Roots stopped by strangers, and claims paid elsewhere by signature, on both kinds of chain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from openledger.claims import ClaimTree
from openledger.spending import SignedClaim, claim_message
from openledger.spending import sign as sign_typed
from services.ledger import calls
from services.ledger.chain import CallReverted
from services.ledger.chain_node import Node
from services.ledger.chain_rpc import RpcChain
from services.ledger.deploy import deploy
from tests.chains import CHAIN_ID, EARNERS, OPEN, OPERATOR, PAYER, STRANGER, TERMS, rpc, send

HOUR = 3600
BOND = TERMS.challenge_bond


@pytest.fixture
def chain(node: Node, tmp_path: Path) -> RpcChain:
    """Contracts with a window long enough to act in, funded with 100 OPEN; the stranger has a bond and approved it."""
    terms = replace(TERMS, challenge_window=HOUR)
    chain = RpcChain(node, deploy(node, OPERATOR, terms, tmp_path / "contracts.json"))
    at = chain.contracts
    send(chain, calls.approve(at, at.distributor, 100 * OPEN))
    send(chain, calls.fund(at, 100 * OPEN))
    send(chain, calls.transfer(at, STRANGER.address, BOND))
    send(chain, calls.approve(at, at.distributor, BOND), STRANGER)
    return chain


def propose(chain: RpcChain, epoch: int, *amounts: int, account: str = EARNERS[0]) -> ClaimTree:
    """A root over the account and the other earners, proposed."""
    accounts = (account, *EARNERS[1:])
    tree = ClaimTree.build(CHAIN_ID, chain.contracts.distributor, dict(zip(accounts, amounts, strict=True)))
    call = calls.propose_root(chain.contracts, epoch, tree.root, b"\x09" * 32, tree.total, len(amounts), "")
    send(chain, call)
    return tree


def leaf(tree: ClaimTree, account: str) -> calls.ClaimLeaf:
    return calls.ClaimLeaf(account, tree.amounts[account], tree.proof(account))


def test_a_wrong_root_is_frozen_struck_and_the_bond_taken_back(chain: RpcChain, url: str) -> None:
    at = chain.contracts
    right = propose(chain, 1, 1 * OPEN, 2 * OPEN, 3 * OPEN)
    rpc(url, "evm_increaseTime", HOUR)
    wrong = propose(chain, 2, 1 * OPEN, 2 * OPEN, 3 * OPEN + 1)
    send(chain, calls.challenge(at, 2, wrong.root, "sha256:00"), STRANGER)
    assert chain.token_balance(STRANGER.address) == 0
    rpc(url, "evm_increaseTime", HOUR)
    with pytest.raises(CallReverted, match="EpochFrozen"):
        chain.estimate(OPERATOR.address, calls.claim(at, 2, leaf(wrong, EARNERS[2])))
    assert chain.active_epoch() == 1
    with pytest.raises(CallReverted, match="NotArbiter"):
        chain.estimate(OPERATOR.address, calls.resolve(at, 2, wrong.root, valid=True))
    send(chain, calls.resolve(at, 2, wrong.root, valid=False), STRANGER)
    assert (chain.last_epoch(), chain.epoch(2)) == (1, None)
    assert [(strike.first, strike.last) for strike in chain.strikes(at.block)] == [(2, 2)]
    send(chain, calls.take_bond(at, STRANGER.address), STRANGER)
    assert chain.token_balance(STRANGER.address) == BOND
    send(chain, calls.claim(at, 1, leaf(right, EARNERS[0])))


def test_a_dismissed_challenge_costs_the_bond_and_a_window(chain: RpcChain, url: str) -> None:
    at = chain.contracts
    tree = propose(chain, 1, 1 * OPEN, 2 * OPEN, 3 * OPEN)
    send(chain, calls.challenge(at, 1, tree.root, ""), STRANGER)
    rpc(url, "evm_increaseTime", 2 * HOUR)
    send(chain, calls.resolve(at, 1, tree.root, valid=True), STRANGER)
    assert (chain.active_epoch(), chain.funded()) == (0, 100 * OPEN + BOND)
    rpc(url, "evm_increaseTime", HOUR)
    send(chain, calls.claim(at, 1, leaf(tree, EARNERS[0])))


def test_two_proofs_strike_a_root_that_takes_earnings_away(chain: RpcChain, url: str) -> None:
    at = chain.contracts
    was = propose(chain, 1, 1 * OPEN, 2 * OPEN, 3 * OPEN)
    rpc(url, "evm_increaseTime", HOUR)
    becomes = propose(chain, 2, 1 * OPEN - 1, 2 * OPEN + 1, 3 * OPEN)
    risen = calls.prove_decrease(at, 1, leaf(was, EARNERS[1]), 2, leaf(becomes, EARNERS[1]))
    with pytest.raises(CallReverted, match="NoDecrease"):
        chain.estimate(STRANGER.address, risen)
    send(chain, calls.prove_decrease(at, 1, leaf(was, EARNERS[0]), 2, leaf(becomes, EARNERS[0])), STRANGER)
    assert (chain.last_epoch(), chain.epoch(2)) == (1, None)


def test_a_signed_claim_is_paid_elsewhere_less_the_senders_fee(chain: RpcChain, url: str) -> None:
    at = chain.contracts
    earner = PAYER.address.lower()
    tree = propose(chain, 1, 10 * OPEN, 2 * OPEN, 3 * OPEN, account=earner)
    rpc(url, "evm_increaseTime", HOUR)
    signed = SignedClaim(earner, EARNERS[0], 10 * OPEN, OPEN, 2**40)
    signature = sign_typed(claim_message(CHAIN_ID, at.distributor, signed), PAYER.key)
    before = chain.token_balance(STRANGER.address)
    call = calls.claim_with_sig(at, 1, signed, tree.proof(earner), signature, OPEN)
    more = calls.claim_with_sig(at, 1, replace(signed, max_fee=2 * OPEN), tree.proof(earner), signature, 2 * OPEN)
    with pytest.raises(CallReverted, match="InvalidSignature"):
        chain.estimate(STRANGER.address, more)
    send(chain, call, STRANGER)
    assert chain.token_balance(EARNERS[0]) == 9 * OPEN
    assert chain.token_balance(STRANGER.address) - before == OPEN
    (claimed,) = chain.claims(at.block)
    assert (claimed.account, claimed.amount) == (earner, 10 * OPEN)
    with pytest.raises(CallReverted, match="NothingToClaim"):
        chain.estimate(STRANGER.address, call)
