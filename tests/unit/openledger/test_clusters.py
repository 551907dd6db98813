"""Whose a text is: against all pairs compared exactly, and with copies of real texts."""

from __future__ import annotations

import random
import re
import unicodedata
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.attacks import texts
from bench.lds import docstrings
from openledger import clusters
from openledger.cli.demo import hpo
from tests.needs import needs

SENTENCE = "A gradual loss of the ability to hear tones of high pitch, in both ears alike."
OTHER = "The upper lip is split on one side, and the cleft goes on into the nose above it."
vocabulary = st.sampled_from(
    ("an", "abnormal", "increase", "of", "the", "number", "in", "cells", "blood", "bone", "was", "found", "or")
)
sentence = st.lists(vocabulary, min_size=1, max_size=14).map(" ".join)
corpus = st.lists(sentence, max_size=8)


@cache
def real(domain: str) -> list[tuple[str, str]]:
    """Whose, and the text."""
    if domain == "hpo":
        curators = hpo.load(12, 20, 0).curators
        return [(curator.pseudonym, each.text) for curator in curators for each in curator.definitions]
    projects = docstrings.PROJECTS[:12]
    drawn = docstrings.draw(projects, 10)
    return [(project.name, text) for project, pairs in zip(projects, drawn, strict=True) for _, text in pairs]


def alike(one: str, other: str) -> bool:
    """The definition, over strings."""
    (left, left_pairs), (right, right_pairs) = compared(one), compared(other)
    if min(len(left_pairs), len(right_pairs)) == 0:
        return False
    return share(left, right) >= Fraction(45, 100) and share(left_pairs, right_pairs) >= Fraction(20, 100)


@cache
def compared(text: str) -> tuple[set[str], set[tuple[str, str]]]:
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower())
    return (set(words), set(pairwise(words))) if len(words) >= 8 else (set(), set())


def share(left: set[Any], right: set[Any]) -> Fraction:
    return Fraction(len(left & right), len(left | right))


def all_pairs(some: list[str]) -> list[int]:
    found: list[int] = []
    for place, text in enumerate(some):
        like = next((other for other in range(place) if alike(some[other], text)), None)
        found.append(place if like is None else found[like])
    return found


@needs("hpo")
@pytest.mark.parametrize("domain", ("hpo", "docstrings"))
def test_comparing_all_pairs_finds_the_same(domain: str) -> None:
    some = [text for _, text in real(domain)]
    some += [texts.edited(text, 0.3, " ".join(some).split(), 0) for text in some[:40]]
    assert clusters.first(some) == all_pairs(some)


@given(st.lists(sentence, max_size=5))
def test_likeness_is_as_defined(some: list[str]) -> None:
    known = [clusters._Text.of(clusters.words(text)) for text in some]
    for one, left in zip(some, known, strict=True):
        for other, right in zip(some, known, strict=True):
            assert left.is_like(right) == alike(one, other) == right.is_like(left)


@given(corpus)
def test_a_text_is_an_earlier_ones_or_its_own(some: list[str]) -> None:
    found = clusters.first(some)
    assert all(first <= place and found[first] == first for place, first in enumerate(found))


@given(corpus, corpus)
def test_later_texts_change_nothing(some: list[str], more: list[str]) -> None:
    assert clusters.first(some + more)[: len(some)] == clusters.first(some)


@given(corpus)
def test_a_second_time_all_are_somebodys(some: list[str]) -> None:
    found = clusters.first(some + some)
    for place, text in enumerate(some):
        if len(clusters.words(text)) >= clusters.FEWEST_WORDS:
            assert found[len(some) + place] < len(some)


def test_a_bridge_carries_off_no_credit() -> None:
    """What is like both of two texts is the first one's, and the second stays whose it was."""
    bridge = f"{SENTENCE} {OTHER}"
    assert clusters.first([SENTENCE, OTHER, bridge]) == [0, 1, 0]


def test_a_copy_of_a_copy_is_the_first_ones() -> None:
    words = SENTENCE.split()
    chain = [" ".join([*words[k:], *OTHER.split()[:k]]) for k in (0, 4, 8, 12)]
    assert not alike(chain[0], chain[3])
    assert clusters.first(chain) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "disguised",
    (
        SENTENCE.upper(),
        SENTENCE.replace(" ", " \n\t"),
        SENTENCE.replace("a", "a\u200b"),
        SENTENCE.replace("a", "a\u034f").replace("e", "e\ufe0f"),
        SENTENCE.replace(" ", "\u3164"),
        SENTENCE.replace(" ", "\uffa0\u115f"),
        SENTENCE.replace(" ", "\u2800"),
        SENTENCE.replace(" ", "_"),
        SENTENCE.replace(",", ";").replace(".", "!"),
        "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in SENTENCE),
    ),
    ids=(
        "case",
        "blanks",
        "invisible",
        "joiners",
        "filler",
        "fillers",
        "braille",
        "underscores",
        "punctuation",
        "wide",
    ),
)
def test_a_disguise_makes_nothing_new(disguised: str) -> None:
    assert clusters.first([SENTENCE, disguised]) == [0, 0]


def test_by_the_first_version_texts_are_compared_as_they_were() -> None:
    """Answers of before name whose their records were by it."""
    assert clusters.words("Old_name of\u034fit, al\u200bike\u3164too", 1) == ["old_name", "of", "it", "alike\u1160too"]
    assert clusters.words("Old_name of\u034fit, al\u200bike\u3164too") == ["old", "name", "ofit", "alike", "too"]
    glued = SENTENCE.replace(" ", "_")
    assert (clusters.first([SENTENCE, glued]), clusters.first([SENTENCE, glued], 1)) == ([0, 0], [0, 1])
    with pytest.raises(ValueError, match="version 3"):
        clusters.words(SENTENCE, 3)


def test_texts_without_blanks_between_words_are_compared() -> None:
    first = "耳鸣是指在没有外部声源的情况下耳内听到声音的感觉"
    assert clusters.first([first, first.replace("声音", "杂音"), "上唇一侧裂开并且裂口一直延伸到上方的鼻子里面去"]) == [
        0,
        0,
        2,
    ]


def test_few_words_are_nobodys() -> None:
    assert clusters.first(["Yes, it is.", "Yes, it is.", "", "", "It is 12, says one of them."]) == [0, 1, 2, 3, 4]


@needs("hpo")
@pytest.mark.parametrize("domain", ("hpo", "docstrings"))
@pytest.mark.parametrize(("share", "least"), ((0.0, 1.0), (0.1, 1.0), (0.2, 0.99), (0.3, 0.95)))
def test_copies_are_found(domain: str, share: float, least: float) -> None:
    """Up to three of ten words exchanged; figures in docs/attacks.md."""
    some = [text for _, text in real(domain)]
    vocabulary = [word for text in some for word in text.split()]
    copies = [texts.edited(text, share, vocabulary, 1) for text in some]
    found = clusters.first(some + copies)[len(some) :]
    assert sum(first < len(some) for first in found) >= least * len(some)


@needs("hpo")
@pytest.mark.parametrize(("domain", "most"), (("hpo", 0.1), ("docstrings", 0.0)))
def test_honest_texts_are_their_authors(domain: str, most: float) -> None:
    """What the ontology's curators took from each other's definitions is found; what was written apart is not."""
    some = real(domain)
    firsts = clusters.first(text for _, text in some)
    others = sum(some[first][0] != whose for first, (whose, _) in zip(firsts, some, strict=True))
    assert others <= most * len(some)


def test_any_number_of_copies_is_one_text() -> None:
    draw = random.Random(0)
    copies = [texts.edited(SENTENCE, 0.1, OTHER.split(), draw.randrange(99)) for _ in range(200)]
    assert clusters.first([SENTENCE, *copies]) == [0] * 201
