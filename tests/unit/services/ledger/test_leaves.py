"""What of earnings one root promises, and what waits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ledger.leaves import Leaves, capped

A, B, C = ("0x" + digit * 40 for digit in "abc")
AMOUNTS = st.dictionaries(st.sampled_from((A, B, C)), st.integers(0, 2**120))


def test_what_fits_is_promised_as_a_whole():
    assert capped({A: 5, B: 7}, {A: 5}, 7) == Leaves({A: 5, B: 7}, {})


def test_above_the_cap_everybody_gets_the_same_part_and_nobody_is_left_out_for_good():
    assert capped({A: 105, B: 10, C: 1}, {A: 5}, 50) == Leaves({A: 50, B: 4}, {A: 55, B: 6, C: 1})
    assert capped({A: 105, B: 10, C: 1}, {A: 50, B: 4}, 62) == Leaves({A: 105, B: 10, C: 1}, {})


@given(before=AMOUNTS, more=AMOUNTS, most=st.integers(1, 2**122))
def test_no_unit_is_lost_no_leaf_falls_and_the_cap_is_heeded(before, more, most):
    was = {who: amount for who, amount in before.items() if amount}
    earned = {who: was.get(who, 0) + more.get(who, 0) for who in {**was, **more}}
    earned = {who: amount for who, amount in earned.items() if amount}
    found = capped(earned, was, most)
    assert {who: found.promised.get(who, 0) + found.waiting.get(who, 0) for who in earned} == earned
    assert all(found.promised.get(who, 0) >= amount for who, amount in was.items())
    assert sum(found.promised.values()) - sum(was.values()) <= most
    assert 0 not in {*found.promised.values(), *found.waiting.values()}
    rise = sum(found.promised.values()) - sum(was.values())
    assert rise > min(most, sum(earned.values()) - sum(was.values())) - len(earned) - 1  # only rounding is left
