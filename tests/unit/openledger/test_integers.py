from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from openledger.integers import root_mean_square, root_of_ratio


@given(st.integers(0, 2**200), st.integers(1, 2**100))
def test_a_root_is_the_smallest_whole_number_that_is_not_below_it(above, below):
    root = root_of_ratio(above, below)
    assert root**2 >= Fraction(above, below)
    assert root == 0 or (root - 1) ** 2 < Fraction(above, below)


@given(st.lists(st.integers(-(2**100), 2**100), max_size=9))
def test_the_root_mean_square_knows_no_signs(values):
    assert root_mean_square(values) == root_mean_square([abs(value) for value in values])
    assert root_mean_square(values) <= max(map(abs, values), default=0)


def test_of_nothing_it_is_nothing():
    assert root_mean_square([]) == 0
