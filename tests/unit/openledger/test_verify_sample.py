"""A provider who cheats about some scores, and a verifier who computes a few receipts again: how often it is found."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest

from openledger import verify_sample as module
from openledger.receipt import sign
from openledger.spot_check import PARTS, Item
from openledger.verify_sample import Population, verify_sample
from tests.receipt_world import KEY, resplit
from tests.unit.openledger.test_spot_check import missed


def item(data: bytes, fee: int) -> Item:
    return Item(hashlib.sha256(data).hexdigest(), fee, data)


def population(count: int, fee: int = 10) -> Population:
    found = [item(b"receipt %d" % number, fee) for number in range(count)]
    return Population.of(lambda: found)


def wrong_are(*numbers: int):
    names = {b"receipt %d" % number for number in numbers}
    return lambda data: "measurement: it is not so" if data in names else ""


def seed(number: int) -> bytes:
    return number.to_bytes(32)


@pytest.fixture(scope="module")
def cheating(published):
    """Six receipts of one provider, who gave one contributor too much in two of them; all are signed and add up."""
    receipts = []
    for number in range(6):
        true = published.receipt(published.trace(response=f"responses/r{number}"))
        if number in (1, 4):
            friend = min(true.evidence.scores)
            scores = dict(true.evidence.scores) | {friend: 2 * max(map(abs, true.evidence.scores.values()))}
            receipts.append(resplit(true, evidence=replace(true.evidence, scores=scores)))
        else:
            receipts.append(sign(true, KEY))
    return receipts


def test_a_cheat_is_found_exactly_as_often_as_computed(published, cheating):
    """Over all choices of two of six, each as likely: by seeds, until every one has been drawn."""

    @cache  # the same receipt is as wrong the second time
    def check(data: bytes) -> str:
        return "; ".join(f"{name}: {words}" for name, (ok, words) in published.check(data).items() if not ok)

    free = [item(receipt.dumps(), 0) for receipt in cheating]
    everything, found = Population.of(lambda: free), {}
    for number in range(200):
        sample = verify_sample(everything, seed(number), 2, 95, check)
        drawn = frozenset(each.digest for each in module.spot_check.by_number(free, seed(number), 2))
        found[drawn] = not sample.ok
        assert sample.wrong.keys() == drawn & {receipt.digest() for receipt in (cheating[1], cheating[4])}
        assert all(why.startswith("measurement: the score of") for why in sample.wrong.values())
        assert sample.number.at_most >= 2, "at least as many as are wrong, in this draw and all others"
    assert len(found) == 15
    assert Fraction(sum(found.values()), len(found)) == 1 - missed(6, 2, 2) == Fraction(9, 15)


def test_a_cheat_over_the_dearest_answer_is_found_by_money_and_seldom_by_number():
    dear = [item(b"receipt %d" % number, 10**6 if number == 7 else 1) for number in range(1_000)]
    caught = Counter()
    for number in range(20):
        sample = verify_sample(Population.of(lambda: dear), seed(number), 20, 95, wrong_are(7))
        caught["money"] += sample.money.wrong > 0
        caught["number"] += sample.number.wrong > 0
        assert sample.money.at_most == PARTS
        assert sample.number.at_most >= 1
    assert caught["money"] == 20
    assert caught["number"] <= 3


def test_where_none_is_found_wrong_the_bounds_say_how_many_may_be():
    sample = verify_sample(population(5_000), seed(1), 60, 95, wrong_are())
    assert (sample.ok, sample.checked) == (True, 60)
    assert missed(5_000, sample.number.at_most + 1, 30) <= Fraction(1, 40) < missed(5_000, sample.number.at_most, 30)
    assert (sample.money.drawn, sample.money.wrong) == (30, 0)
    assert 115_000 < sample.money.at_most < 116_000
    told = " ".join(sample.words())
    assert "60 of 5000 receipts" in told
    assert "none of them is wrong" in told
    assert "95 of 100" in told


def test_looked_at_altogether_it_is_what_is_the_case():
    sample = verify_sample(population(10), seed(1), 60, 95, wrong_are(3, 4))
    assert (sample.checked, len(sample.wrong)) == (10, 2)
    assert (sample.number.at_most, sample.number.of) == (2, 10)
    assert (sample.money.at_most, sample.money.of) == (200_000, PARTS)
    assert "That is all of them: 20.00 % are wrong, 20.00 % of the fees." in list(sample.words())


def test_answers_that_were_free_are_drawn_by_number_alone():
    sample = verify_sample(population(100, fee=0), seed(1), 20, 95, wrong_are(*range(100)))
    assert (sample.number.drawn, sample.number.wrong, sample.money) == (20, 20, None)
    assert sample.number.at_most == 100


def test_more_confidence_says_less():
    some = [verify_sample(population(1_000), seed(1), 40, percent, wrong_are()) for percent in (50, 95, 99)]
    assert [s.number.at_most for s in some] == sorted({s.number.at_most for s in some})
    assert [s.money.at_most for s in some] == sorted({s.money.at_most for s in some})


@pytest.mark.parametrize(("budget", "confidence"), ((1, 95), (0, 95), (10_001, 95), (60, 0), (60, 100)))
def test_other_budgets_and_confidences_are_refused(budget, confidence):
    with pytest.raises(ValueError, match="a budget is 2 to 10000"):
        verify_sample(population(5), seed(1), budget, confidence, wrong_are())


def test_of_nothing_nothing_is_drawn():
    with pytest.raises(ValueError, match="no receipts"):
        verify_sample(population(0), seed(1), 60, 95, wrong_are())


def test_what_cannot_be_checked_stops_the_sample():
    def failing(_: bytes) -> str:
        raise MemoryError

    with pytest.raises(MemoryError):
        verify_sample(population(5), seed(1), 60, 95, failing)
