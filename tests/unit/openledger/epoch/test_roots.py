from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger import merkle
from openledger.claims import ClaimTree
from openledger.epoch import roots

ACCOUNTS = st.integers(0, 2**160 - 1).map(lambda number: f"0x{number:040x}")
AMOUNTS = st.dictionaries(ACCOUNTS, st.integers(1, 2**100), min_size=1, max_size=40)


@given(st.integers(1, 2**64), ACCOUNTS, AMOUNTS)
def test_the_root_that_is_claimed_against(chain_id: int, distributor: str, amounts: dict[str, int]) -> None:
    tree = ClaimTree.build(chain_id, distributor, amounts)
    assert roots.claims(chain_id, distributor, sorted(amounts.items())) == tree.root


@given(st.integers(1, 2**64), ACCOUNTS, AMOUNTS)
def test_the_proofs_by_which_is_claimed(chain_id: int, distributor: str, amounts: dict[str, int]) -> None:
    tree, leaves = ClaimTree.build(chain_id, distributor, amounts), sorted(amounts.items())
    for place, (account, _) in enumerate(leaves):
        assert roots.proof(chain_id, distributor, leaves, place) == tree.proof(account)


@pytest.mark.parametrize("amount", (2**256, -1))
def test_what_does_not_fit_into_a_leaf_is_refused(amount: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        roots.claims(1, "0x" + "9" * 40, [("0x" + "1" * 40, amount)])


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=40))
def test_the_root_over_receipts(digests: list[bytes]) -> None:
    assert roots.log(digests) == merkle.root(digests)


def test_of_nothing() -> None:
    assert roots.claims(1, "0x" + "9" * 40, []) == bytes(32)
    assert roots.log([]) == hashlib.sha256(b"").digest()
