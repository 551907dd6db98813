"""Claim trees: the vectors shared with Solidity, and what holds for every tree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.claims import (
    UINT128_MAX,
    ClaimTree,
    InvalidClaims,
    address_bytes,
    decreases,
    fold,
    keccak,
    leaf_hash,
    parent_hash,
    siblings,
    verify,
)

VECTORS = json.loads((Path(__file__).parents[3] / "contracts" / "vectors" / "claims.json").read_text())
DISTRIBUTOR = "0x" + "d1" * 20
ALICE, BOB = "0x" + "aa" * 20, "0x" + "bb" * 20

accounts = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
amounts = st.dictionaries(accounts, st.integers(1, 2**100), min_size=1, max_size=40)


def build(shares: dict[str, int]) -> ClaimTree:
    return ClaimTree.build(31337, DISTRIBUTOR, shares)


@given(st.integers(1, 70), st.sampled_from((1, 2, 8, 64, 128)))
def test_a_proof_is_one_in_its_subtree_and_one_over_the_subtrees(count: int, leaves: int) -> None:
    shares = {f"0x{number:040x}": number for number in range(1, count + 1)}
    tree, order = build(shares), sorted(shares)
    above = fold(tree.subtrees(leaves))
    assert above[-1] == [tree.root]
    for place, account in enumerate(order):
        first = place // leaves * leaves
        part = build({who: shares[who] for who in order[first : first + leaves]})
        assert part.root == above[0][place // leaves]
        assert part.proof(account) + siblings(above, place // leaves) == tree.proof(account)


@pytest.mark.parametrize("wrong", ("0x12", "aa" * 21, "0x" + "zz" * 20, "0x" + " a" * 20))
def test_among_many_accounts_the_wrong_one_is_named(wrong: str) -> None:
    with pytest.raises(InvalidClaims, match=f"{wrong!r} is not an address"):
        build({ALICE: 1, BOB: 2, wrong: 3})


def test_keccak_is_the_evms_and_not_nists() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@pytest.mark.parametrize("vector", VECTORS["trees"], ids=lambda vector: f"{len(vector['leaves'])} leaves")
def test_vectors(vector: dict[str, object]) -> None:
    leaves: list[dict[str, object]] = vector["leaves"]  # type: ignore[assignment]
    shares = {str(leaf["account"]): int(str(leaf["cumulative"])) for leaf in leaves}
    tree = ClaimTree.build(VECTORS["chain_id"], VECTORS["distributor"], shares)
    assert "0x" + tree.root.hex() == vector["root"]
    assert str(tree.total) == vector["total"]
    for leaf in leaves:
        assert "0x" + tree.leaf(str(leaf["account"])).hex() == leaf["leaf"]
        assert ["0x" + node.hex() for node in tree.proof(str(leaf["account"]))] == leaf["proof"]


@given(amounts)
def test_every_account_can_prove_its_leaf(shares: dict[str, int]) -> None:
    tree = build(shares)
    for account, cumulative in shares.items():
        leaf = leaf_hash(31337, DISTRIBUTOR, account, cumulative)
        assert tree.leaf(account) == leaf
        assert verify(tree.root, leaf, tree.proof(account))


@given(amounts, st.data())
def test_no_other_amount_account_chain_or_distributor_is_proven(shares: dict[str, int], data: st.DataObject) -> None:
    tree = build(shares)
    account = data.draw(st.sampled_from(sorted(shares)))
    proof = tree.proof(account)
    forged = (
        leaf_hash(31337, DISTRIBUTOR, account, shares[account] + 1),
        leaf_hash(1, DISTRIBUTOR, account, shares[account]),
        leaf_hash(31337, ALICE, account, shares[account]),
        leaf_hash(31337, DISTRIBUTOR, "0x" + "01" * 20, shares[account]),
    )
    assert not any(verify(tree.root, leaf, proof) for leaf in forged)


@given(amounts, st.data())
def test_a_changed_proof_fails(shares: dict[str, int], data: st.DataObject) -> None:
    tree = build(shares)
    account = data.draw(st.sampled_from(sorted(shares)))
    proof = tree.proof(account)
    if not proof:
        return
    position = data.draw(st.integers(0, len(proof) - 1))
    byte = data.draw(st.integers(0, 31))
    changed = bytearray(proof[position])
    changed[byte] ^= 1
    proof[position] = bytes(changed)
    assert not verify(tree.root, tree.leaf(account), proof)


@given(amounts, st.randoms())
def test_neither_order_nor_letter_case_matters(shares: dict[str, int], random: st.Random) -> None:
    entries = list(shares.items())
    random.shuffle(entries)
    shuffled = {"0x" + account[2:].upper(): cumulative for account, cumulative in entries}
    assert build(shuffled).root == build(shares).root
    assert build(shuffled).proof(entries[0][0].upper().replace("0X", "0x")) == build(shares).proof(entries[0][0])


@given(amounts)
def test_total_is_the_sum(shares: dict[str, int]) -> None:
    assert build(shares).total == sum(shares.values())


def test_an_inner_node_is_no_leaf() -> None:
    """The parent of two leaves is keccak of 64 bytes, and no leaf can be made to have that preimage."""
    tree = build({ALICE: 1, BOB: 2, "0x" + "cc" * 20: 3})
    inner = parent_hash(tree.leaf(ALICE), tree.leaf(BOB))
    assert verify(tree.root, inner, tree.proof(ALICE)[1:])  # which is why a leaf is hashed from its fields
    assert inner not in {tree.leaf(account) for account in tree.amounts}


@pytest.mark.parametrize(
    "shares",
    (
        {},
        {ALICE: 0},
        {ALICE: -1},
        {ALICE: UINT128_MAX + 1},
        {ALICE: UINT128_MAX, BOB: 1},
        {ALICE: 1, "0x" + "AA" * 20: 1},
        {"0xaa": 1},
        {"aa" * 20: 1},
        {"0x" + " a" * 20: 1},
        {"0x" + "gg" * 20: 1},
    ),
    ids=str,
)
def test_invalid_claims_are_refused(shares: dict[str, int]) -> None:
    with pytest.raises(InvalidClaims):
        build(shares)


@pytest.mark.parametrize("chain_id", (0, -1, 2**256))
def test_invalid_chain_ids_are_refused(chain_id: int) -> None:
    with pytest.raises(InvalidClaims):
        leaf_hash(chain_id, DISTRIBUTOR, ALICE, 1)


def test_an_account_outside_the_tree_has_no_proof() -> None:
    with pytest.raises(KeyError):
        build({ALICE: 1}).proof(BOB)


def test_address_bytes_reads_any_letter_case() -> None:
    assert address_bytes("0x" + "Ab" * 20) == b"\xab" * 20


def test_decreases_names_who_would_lose() -> None:
    upper = "0x" + "AA" * 20
    assert decreases({ALICE: 5, BOB: 5}, {upper: 5, BOB: 6}) == []
    assert decreases({upper: 5, BOB: 5}, {ALICE: 4}) == [ALICE, BOB]
