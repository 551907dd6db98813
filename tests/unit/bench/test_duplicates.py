"""The bench of near-duplicates: its variants, its sources, and what it counts."""

from __future__ import annotations

import itertools
import random

import pytest

from bench import duplicates
from bench.duplicates import made
from bench.duplicates.corpus import corpus
from openledger import clusters

TEXT = "Swelling, of both lower legs; caused by an increased pressure in the veins. It often goes away at night."
OTHERS = ("river", "stone", "cloud")


def vary(name: str, text: str = TEXT) -> str:
    return made.VARIANTS[name](text, random.Random(1), OTHERS)


@pytest.mark.parametrize("name", made.VARIANTS)
def test_a_variant_is_another_text_and_the_same_for_the_same_seed(name):
    assert vary(name) == vary(name) != TEXT
    assert isinstance(vary(name, ""), str)


def test_variants_by_hand():
    assert vary("case") == TEXT.upper()
    assert vary("punctuation", "A, b-c.") == "A b c"
    assert vary("clauses", "One, two; three.") == "three, two, One"
    assert sorted(vary("shuffled").split()) == sorted(TEXT.split())
    assert vary("padded", "a b c d").split()[:4] == ["a", "b", "c", "d"]
    assert len(vary("padded", "a b c d").split()) == 6
    assert vary("joined", "a b c d").split()[:4] == ["a", "b", "c", "d"]
    assert len(vary("joined", "a b c d").split()) == 12
    assert vary("third", "a b c d e f g") in ("a b", "c d", "e f")
    assert vary("reworded", "Often caused by stones.") == "frequently due to stones"


@pytest.mark.parametrize("percent", (10, 20, 30, 40, 50))
def test_so_many_words_are_exchanged(percent):
    text = " ".join(f"word{n}" for n in range(40))
    changed = [
        one != other for one, other in zip(text.split(), vary(f"exchanged_{percent}", text).split(), strict=True)
    ]
    assert sum(changed) == 40 * percent // 100


def test_of_edits_a_third_each_exchange_leave_out_and_put_in():
    words = [f"word{n}" for n in range(3000)]
    left = made.edited(0.3)(" ".join(words), random.Random(1), OTHERS).split()
    gone = len(set(words) - set(left))
    assert abs(len(left) - 3000) < 90
    assert 540 < gone < 660
    assert [word for word in left if word.startswith("word")] == [word for word in words if word in set(left)]


def test_made_sentences_are_long_enough_to_be_alike_and_seldom_the_same():
    some = list(itertools.islice(duplicates.sentences(), 500))
    assert len(set(some)) == 500
    assert all(len(clusters.words(text)) == 18 for text in some)


def test_what_is_counted():
    with corpus() as here:
        (row, again) = duplicates.unrelated(here, {"one": [TEXT, OTHERS[0]], "two": [TEXT.upper(), "river stone"]})
        assert (row["texts"], row["refused"], again["refused"]) == (2, 0, 1)
        candidates = here.candidates([vary("case"), "something else that nobody has said here before today"])
        assert here.found(candidates) == 1
        assert here.postings(candidates) >= 40
    grown = duplicates.growth((20, 60), 5)
    assert [(row["records"], row["recall"], row["new_refused"]) for row in grown] == [(20, 1.0, 0), (60, 1.0, 0)]
    assert all(row["ms"] > 0 and row["taken_a_second"] > 0 for row in grown)


def test_growth_is_told_by_the_tenfold():
    less, more = {"records": 1_000, "ms": 1.0}, {"records": 100_000, "ms": 2.0}
    assert duplicates._a_tenfold(less, more) == 0.5
