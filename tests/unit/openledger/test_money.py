from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.money import MAX_AMOUNT, OPEN, Price, format_open, parse_atomic, parse_open


@given(st.integers(0, MAX_AMOUNT))
def test_amounts_survive_their_text_forms(amount):
    assert parse_atomic(str(amount)) == amount
    assert parse_open(format_open(amount, places=18)) == amount


@pytest.mark.parametrize(
    "text",
    ("", "-1", "+1", "01", "1.0", "1e3", " 1", "1 ", "0x10", "\uff11", "1_000", str(MAX_AMOUNT + 1), "9" * 400),
)
def test_what_is_no_atomic_amount_is_refused(text):
    with pytest.raises(ValueError, match="is not an amount"):
        parse_atomic(text)


@pytest.mark.parametrize("text", ("", ".5", "1.", "1." + "0" * 19, "-1", "1,5", "1e3", "9" * 40))
def test_what_is_no_amount_of_open_is_refused(text):
    with pytest.raises(ValueError, match="OPEN"):
        parse_open(text)


@pytest.mark.parametrize(
    ("amount", "text"),
    ((0, "0"), (OPEN, "1"), (OPEN // 4 * 5, "1.25"), (1, "0"), (-OPEN // 2, "-0.5"), (OPEN - 1, "0.999999")),
)
def test_people_see_few_digits_rounded_down(amount, text):
    assert format_open(amount) == text


def test_the_metered_part_is_rounded_up_once():
    price = Price(per_1k_in=1, per_1k_out=1, platform_fee=5)
    assert price.fee(0, 0) == 5
    assert price.fee(1, 0) == 6
    assert price.fee(500, 500) == 6
    assert price.fee(500, 501) == 7
