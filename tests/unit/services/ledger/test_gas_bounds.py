"""How much gas may go with a transaction."""

from __future__ import annotations

import json

import pytest

from openledger.spending import SignedClaim, SpendingAuthorisation, Transfer
from services.ledger import calls, gas_bounds
from services.ledger.calls import ClaimLeaf, Redemption
from tests.fake_chain import AT
from tests.needs import ROOT

A = "0x" + "a" * 40
PROOF = [bytes(32)] * 20
MEASURED = {
    name: int(gas) for name, gas in json.loads((ROOT / "contracts/snapshots/transactions.json").read_text()).items()
}


def redeem(lines: int, signature: int = 65):
    authorised = SpendingAuthorisation(A, 2**100, 4_000_000_000)
    return calls.redeem(AT, [Redemption(authorised, 2**90, b"s" * signature)] * lines)


CLAIM = calls.claim(AT, 1, ClaimLeaf(A, 2**90, PROOF))
SIGNED = calls.claim_with_sig(AT, 1, SignedClaim(A, A, 2**90, 0, 4_000_000_000), PROOF, b"s" * 65, 0)


@pytest.mark.parametrize(
    ("call", "measured"),
    (
        (redeem(100), "redeem_100"),
        (CLAIM, "claim_first_depth20"),
        (SIGNED, "claim_with_sig_depth20"),
        (calls.deposit_with_permit(AT, A, 2**90, 4_000_000_000, b"s" * 65), "deposit"),
        (calls.propose_root(AT, 1, b"r" * 32, b"l" * 32, 2**90, 10, "sha256:" + "a" * 64), "root_first"),
        (calls.commit_snapshot(AT, "datanets/d", 1, b"r" * 32, 5, "x"), "register_revision_16_snapshots"),
    ),
)
def test_each_kind_may_take_half_as_much_again_as_was_measured(call, measured):
    assert gas_bounds.most(call) > 1.5 * MEASURED[measured]


@pytest.mark.parametrize("call", (CLAIM, SIGNED, redeem(1), redeem(1, signature=500)))
def test_what_asks_anybody_is_bounded(call):
    assert gas_bounds.most(call) < 350_000


def test_a_batch_may_take_more_with_each_line_and_a_wallet_no_more_than_its_part():
    one, two, fifty = (gas_bounds.most(redeem(lines)) for lines in (1, 2, 50))
    assert fifty - one == 49 * (two - one)
    assert two - one < 60_000
    assert gas_bounds.asking(b"") - 21_000 == gas_bounds.WALLET < one


def test_a_transfer_that_was_signed_is_bounded_and_what_is_the_ledgers_own_is_not_held_up():
    transfer = Transfer(A, AT.escrow, 1, 0, 4_000_000_000, b"n" * 32)
    assert gas_bounds.most(calls.deposit_with_authorization(AT, transfer, b"s" * 65)) < 250_000
    assert gas_bounds.most(calls.fund(AT, 1)) == gas_bounds.OTHERS
