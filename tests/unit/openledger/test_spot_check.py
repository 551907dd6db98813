"""What is drawn, and that bounds hold as often as they say: by counting every way in which a draw can come out."""

from __future__ import annotations

import hashlib
from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import comb, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.spot_check import PARTS, Item, by_money, by_number, most_money, most_wrong, spread

DOUBTS = (Fraction(1, 20), Fraction(1, 40), Fraction(1, 2))


def items(*fees: int) -> list[Item]:
    return [Item(hashlib.sha256(bytes([place])).hexdigest(), fee, b"") for place, fee in enumerate(fees)]


def seed(number: int) -> bytes:
    return number.to_bytes(32)


def test_every_choice_by_number_is_as_likely_as_any_other():
    given, draws = items(*[1] * 6), 6_000
    chosen = Counter(frozenset(each.digest for each in by_number(given, seed(n), 2)) for n in range(draws))
    assert len(chosen) == comb(6, 2)
    # Five standard deviations of a binomial with a fifteenth: the seeds are these, so that it holds once and for all.
    assert all(abs(times - draws / 15) < 5 * (draws / 15 * 14 / 15) ** 0.5 for times in chosen.values())


def test_who_is_drawn_by_number_depends_on_nothing_but_seed_and_receipts():
    given = items(*range(20))
    assert by_number(given, seed(1), 5) == by_number(given[::-1], seed(1), 5)
    assert by_number(given, seed(1), 5) != by_number(given, seed(2), 5)
    assert by_number(given, seed(1), 5) == by_number(given, seed(1), 7)[:5]
    assert sorted(by_number(given, seed(1), 99)) == sorted(given)


def test_whoever_costs_more_is_drawn_by_money_as_much_more_often():
    given, draws = items(1, 0, 3, 6), 20_000
    times = Counter(each.fee for each in by_money(given, 10, seed(0), draws))
    assert times.keys() == {1, 3, 6}
    for fee, count in times.items():
        part = fee / 10
        assert abs(count - draws * part) < 5 * (draws * part * (1 - part)) ** 0.5


def test_a_receipt_of_nearly_all_money_is_drawn_nearly_always():
    assert {each.fee for each in by_money(items(1, 10**30, 1), 10**30 + 2, seed(3), 200)} == {10**30}


def test_fees_that_are_not_there_cannot_be_drawn_from():
    with pytest.raises(ValueError, match="the fees are 6 together, not 7000"):
        by_money(items(1, 2, 3), 7_000, seed(0), 50)


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("population", (1, 2, 5, 8))
def test_the_bound_on_how_many_holds_as_often_as_it_says_whatever_is_wrong(population, doubt):
    """Over every draw there is, of every number of wrong ones; and one less would not."""
    for drawn in range(1, population + 1):
        draws = list(combinations(range(population), drawn))
        bounds = [most_wrong(population, drawn, hits, doubt) for hits in range(drawn + 1)]
        assert all(hits <= bounds[hits] <= population - drawn + hits for hits in range(drawn + 1))
        for wrong in range(population + 1):
            holds = sum(wrong <= bounds[sum(each < wrong for each in draw)] for draw in draws)
            assert Fraction(holds, len(draws)) >= 1 - doubt
        for hits, bound in enumerate(bounds):
            few = sum(sum(each < bound for each in draw) <= hits for draw in draws)
            assert Fraction(few, len(draws)) > doubt, "the bound could be less"


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("drawn", (1, 2, 5, 30))
def test_the_bound_on_the_money_holds_as_often_as_it_says_whatever_is_wrong(drawn, doubt):
    bounds = [most_money(drawn, hits, doubt) for hits in range(drawn + 1)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == PARTS
    edges = {edge for bound in bounds for edge in (bound - 1, bound, bound + 1) if 0 <= edge <= PARTS}
    for parts in {0, PARTS // 3, PARTS} | edges:
        wrong = Fraction(parts, PARTS)
        likely = [comb(drawn, hits) * wrong**hits * (1 - wrong) ** (drawn - hits) for hits in range(drawn + 1)]
        assert sum(p for p, bound in zip(likely, bounds, strict=True) if parts <= bound) >= 1 - doubt


def test_what_is_known_from_books_of_auditing():
    """None wrong of 59 leaves at most five per cent with a confidence of 95, by 0.05 ** (1 / 59)."""
    assert most_money(59, 0, Fraction(1, 20)) == 49_508
    assert most_money(58, 0, Fraction(1, 20)) > 50_000
    assert most_wrong(10**6, 59, 0, Fraction(1, 20)) == 49_506


def missed(population: int, wrong: int, drawn: int) -> Fraction:
    """The probability that none of the wrong ones is among so many that are drawn, draw by draw."""
    chances = (Fraction(max(0, population - wrong - place), population - place) for place in range(drawn))
    return prod(chances, start=Fraction(1))


@given(st.integers(1, 40), st.data())
def test_as_many_may_be_wrong_as_a_draw_may_well_miss_and_not_one_more(population, data):
    drawn = data.draw(st.integers(1, population))
    bound = most_wrong(population, drawn, 0, Fraction(1, 20))
    assert missed(population, bound, drawn) > Fraction(1, 20)
    assert bound == population or missed(population, bound + 1, drawn) <= Fraction(1, 20)


def test_large_samples_are_told_in_a_moment():
    assert 0 < most_wrong(10**6, 10_000, 3, Fraction(1, 40)) < 1_100
    assert 0 < most_money(10_000, 3, Fraction(1, 40)) < 1_100


def test_a_part_of_money_is_rounded_up():
    assert (spread([1], 3), spread([], 3), spread([3], 3), spread([], 0)) == (333_334, 0, PARTS, 0)
