"""What transactions offer for gas."""

from __future__ import annotations

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.chain import Call, Price
from services.ledger.signing import Fees, better, offer, sign, signed_terms

GWEI = 10**9
AMOUNTS = st.integers(0, 10_000 * GWEI)


def test_an_offer_holds_through_several_full_blocks():
    assert offer(Price(10 * GWEI, GWEI), 500 * GWEI) == Fees(21 * GWEI, GWEI)


@pytest.mark.parametrize(("base", "offered"), ((9, Fees(10, 1)), (10, None), (11, None)))
def test_an_offer_ends_at_the_cap(base, offered):
    assert offer(Price(base, 1), 10) == offered


@given(base=AMOUNTS, tip=AMOUNTS, cap=st.integers(1, 10_000 * GWEI), old=AMOUNTS, old_tip=AMOUNTS)
def test_a_better_offer_rises_in_both_parts_by_what_nodes_ask_for_and_not_over_the_cap(base, tip, cap, old, old_tip):
    before = Fees(max(old, old_tip), old_tip)
    found = better(before, Price(base, tip), cap)
    if found is None:
        assert base >= cap or before.max_fee * 9 > cap * 8 - 9
        return
    assert found.priority_fee <= found.max_fee <= cap
    assert 10 * found.max_fee >= 11 * before.max_fee
    assert 10 * found.priority_fee >= 11 * before.priority_fee


@given(gas=st.integers(21_000, 30_000_000), most=AMOUNTS, nonce=st.integers(0, 2**32))
def test_what_was_signed_says_what_it_offers(gas, most, nonce):
    fees = Fees(most, most // 3)
    account = Account.from_key(b"\x01" * 32)
    signed = sign(account, Call("0x" + "1" * 40, b"x"), chain_id=1, nonce=nonce, gas=gas, fees=fees)
    assert signed_terms(signed.raw) == (gas, fees)
