from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger import clusters
from services.datanet import likeness
from services.datanet.likeness import BANDS, SIZE, Sketch, sketch

TEXT = (
    "A fracture of the left femur that came about without any fall or blow, as bones do that have lost their calcium."
)
OTHER = "Whoever writes a decorator should keep the name of the function that it wraps, for tracebacks show that name."
WORDS = [f"{a}{b}" for a in ("ba", "co", "di", "fe", "gu", "ha", "jo", "ki", "le", "mu") for b in range(80)]


def of(*texts: str) -> Sketch:
    return sketch({f"f{n}": text for n, text in enumerate(texts)})


def alike(one: str, other: str) -> bool:
    return of(one).is_like(of(other))


def meet(one: Sketch, other: Sketch) -> bool:
    return bool(set(one.features()) & set(other.features()))


def edited(text: str, share: float, rng: random.Random) -> str:
    words = text.split()
    for place in rng.sample(range(len(words)), round(share * len(words))):
        words[place] = rng.choice(WORDS)
    return " ".join(words)


@pytest.mark.parametrize(
    "variant",
    (
        TEXT,
        TEXT.upper(),
        TEXT.replace(",", " -").rstrip("."),
        "  " + TEXT.replace(" ", "\n"),
        TEXT.replace("left femur", "right femur"),
        TEXT.replace("that came about without any fall or blow, ", ""),
        " ".join(reversed(TEXT.split())),
        TEXT.replace("fi", "\N{LATIN SMALL LIGATURE FI}").replace("calcium", "cal\u200bcium"),
    ),
    ids=("same", "case", "punctuation", "space", "word", "clause", "order", "letters"),
)
def test_what_reads_like_a_text_is_like_it_and_meets_it(variant):
    assert alike(TEXT, variant)
    assert meet(of(TEXT), of(variant))


@pytest.mark.parametrize(
    "other", (OTHER, "", "femur", TEXT[:40], f"{TEXT} {OTHER} {OTHER.replace('name', 'sign')[::-1]}")
)
def test_what_says_something_else_is_not(other):
    assert not alike(TEXT, other)


@pytest.mark.parametrize(
    ("one", "other", "are"),
    (
        ("Abnormally low blood pressure.", "abnormally low blood pressure", True),
        ("Abnormally low blood pressure", "Abnormally high blood pressure", False),
        ("low blood pressure", "blood pressure low", False),
        ("one two three four five six seven", "one two three four five six seven", True),
        ("one two three four five six seven", "one two three four five six eight", False),
        ("one two three four five six seven", "one two three four five seven six", False),
        ("low blood pressure", "a state of low blood pressure that lasts", False),
        ("Fever", "fever", False),
        ("C++", "C", False),
        ("high fever", "High fever!", False),
        ("", "", False),
    ),
)
def test_a_text_of_few_words_is_like_what_has_the_same_words_in_order_and_of_two_words_like_nothing(one, other, are):
    assert alike(one, other) is are
    assert meet(of(one), of(other)) or not are


def test_eight_words_are_like_what_is_left_without_two_of_them_and_a_phrase_is_not_like_what_it_stands_in():
    whole = "swelling of both lower legs after long flights"
    for left in ("swelling of both lower legs after flights", "swelling of lower legs after flights"):
        assert alike(whole, left)
        assert alike(left, whole)
        assert meet(of(whole), of(left))
    assert not alike(whole, "swelling of both lower legs")


def test_fields_and_their_order_make_no_difference_and_no_pair_reaches_from_one_into_the_next():
    assert of(TEXT, OTHER) == of(OTHER, TEXT) == of(OTHER, "", TEXT)
    joined = of(f"{TEXT} {OTHER}")
    assert joined.words == of(TEXT, OTHER).words
    assert len(joined.pairs - of(TEXT, OTHER).pairs) == 1
    assert of("low blood", "Pressure now") == of("pressure now", "Low blood")


def test_words_that_stand_alone_in_their_fields_have_no_pairs_and_are_compared_by_themselves():
    one = of(*["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    assert one.pairs == frozenset()
    assert one.is_like(one)
    assert not one.is_like(of(*["one", "two", "three", "four", "five", "six", "seven", "eight", "ten"]))


@given(st.lists(st.sampled_from(WORDS[:30]), max_size=60), st.lists(st.sampled_from(WORDS[:30]), max_size=60))
def test_of_texts_that_fit_likeness_is_that_of_the_sets_themselves(one, other):
    def share(a: set, b: set) -> float:
        return 100 * len(a & b) / len(a | b) if a & b else 0

    found = of(" ".join(one)).is_like(of(" ".join(other)))
    assert found == of(" ".join(other)).is_like(of(" ".join(one)))
    if max(len(one), len(other)) >= clusters.FEWEST_WORDS and min(len(one), len(other)) >= likeness.PHRASE_WORDS:
        words = share(set(one), set(other))
        pairs = share(set(pairwise(one)), set(pairwise(other)))
        expected = (words >= clusters.WORDS and pairs >= clusters.PAIRS) or words >= likeness.WORDS_ALONE
        assert found == expected


@given(st.text(max_size=400))
def test_every_text_has_a_sketch_that_is_kept_whole_and_is_like_itself(text):
    found = of(text)
    assert Sketch.from_bytes(found.to_bytes()) == found
    assert found.is_like(found) is bool(found.words)
    assert len(found.features()) == (0 if not found.words else BANDS if len(found.words) > 1 else 1)


def test_long_texts_are_compared_by_a_sample_and_their_sketches_have_a_bound():
    rng = random.Random(5)
    long = [" ".join(f"w{rng.randrange(10**6)}" for _ in range(5_000)) for _ in range(12)]
    for text in long:
        found = of(text)
        assert (len(found.words), len(found.pairs), len(found.to_bytes())) == (SIZE, SIZE, 4 + 8 * SIZE)
        near = of(edited(text, 0.2, rng))
        assert found.is_like(near)
        assert meet(found, near)
        assert not found.is_like(of(edited(text, 0.6, rng)))
    assert not any(of(one).is_like(of(other)) for one, other in pairwise(long))


def test_a_sketch_of_a_later_version_is_not_read():
    with pytest.raises(ValueError, match="later version"):
        Sketch.from_bytes(b"\x02" + of(TEXT).to_bytes()[1:])
