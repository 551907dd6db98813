from __future__ import annotations

import hashlib

import pytest

from openledger import merkle
from openledger.claims import ClaimTree, verify
from services.ledger.settle import Decreased, NothingToSettle, log_root, seal

CHAIN, AT = 31337, "0x" + "9" * 40
A, B, C = ("0x" + digit * 40 for digit in "abc")
DIGESTS = [hashlib.sha256(bytes([n])).hexdigest() for n in range(3)]


def test_a_sealing_commits_to_every_account_and_receipt():
    sealed = seal(CHAIN, AT, {A: 5, B: 2**100}, {A: 5}, DIGESTS)
    tree = ClaimTree.build(CHAIN, AT, {A: 5, B: 2**100})
    assert (sealed.root, sealed.total) == (tree.root.hex(), 5 + 2**100)
    assert verify(bytes.fromhex(sealed.root), tree.leaf(B), tree.proof(B))
    leaves = [bytes.fromhex(d) for d in DIGESTS]
    proof = merkle.inclusion_proof(leaves, 1)
    assert merkle.verify_inclusion(leaves[1], 1, 3, proof, bytes.fromhex(sealed.log_root))


def test_the_order_of_receipts_is_part_of_the_log_root():
    assert log_root(DIGESTS) != log_root(DIGESTS[::-1])


def test_nothing_new_is_nothing_to_settle():
    with pytest.raises(NothingToSettle, match="no answer"):
        seal(CHAIN, AT, {A: 5}, {A: 5}, [])
    with pytest.raises(NothingToSettle, match="held"):
        seal(CHAIN, AT, {}, {}, DIGESTS)


@pytest.mark.parametrize("earned", ({A: 4, B: 9}, {B: 9}))
def test_a_root_that_takes_earnings_away_is_never_made(earned):
    with pytest.raises(Decreased, match=A):
        seal(CHAIN, AT, earned, {A: 5}, DIGESTS)
