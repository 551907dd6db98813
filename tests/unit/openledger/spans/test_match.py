from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.spans.build import Document, build
from openledger.spans.index import SpanIndex
from openledger.spans.layout import WIDE
from openledger.spans.match import Matches
from tests.span_oracle import SALT, maximal, occurrences

TOKENS = st.lists(st.integers(0, 2), max_size=14)


def index_of(*texts: list[int]) -> SpanIndex:
    return SpanIndex(build([Document(0, k, text) for k, text in enumerate(texts)], owners=1, salt=SALT))


def spans(index: SpanIndex, answer: list[int], least: int) -> list[tuple[int, int]]:
    return Matches(index, index.symbols(answer), least).maximal()


@given(st.lists(TOKENS, max_size=4), st.lists(st.integers(0, 3), max_size=20), st.integers(1, 6))
def test_spans_and_places_are_those_of_brute_force(texts: list[list[int]], answer: list[int], least: int) -> None:
    index = index_of(*texts)
    documents = [Document(0, k, text) for k, text in enumerate(texts)]
    found = spans(index, answer, least)
    assert found == maximal(documents, answer, least)
    matches = Matches(index, index.symbols(answer), least)
    for begin, end in found:
        for start in range(begin, end - least + 1):
            expected = [int(index.starts[n]) + offset for n, offset in occurrences(documents, answer[start:end])]
            places = matches.places(start, end, 1000)
            assert places is not None
            assert places.tolist() == expected
            assert matches.places(start, end, len(expected)) is not None
            assert matches.places(start, end, len(expected) - 1) is None


@pytest.mark.parametrize("seed", range(5))
def test_long_copies_with_slips_are_those_of_brute_force(seed: int) -> None:
    """Longer than what is compared at once, with a vocabulary as in language: few common tokens, many rare ones."""
    draw = random.Random(seed)
    texts = [[int(draw.paretovariate(0.6)) for _ in range(draw.randrange(60))] for _ in range(12)]
    answer: list[int] = []
    for text in draw.sample(texts, 6):
        answer += [token if draw.random() < 0.93 else 2 for token in text[draw.randrange(10) :]]
    documents = [Document(0, k, text) for k, text in enumerate(texts)]
    for least in (1, 3, 4, 5, 9):
        assert spans(index_of(*texts), answer[:90], least) == maximal(documents, answer[:90], least)


def test_tokens_of_three_bytes_are_found_as_those_of_two() -> None:
    many = list(range(WIDE + 1))
    index = index_of([1, 2, 3, 4, 5, 6, 70_000, 8], many)
    answer = [9, 1, 2, 3, 4, 5, 6, 70_000, 8, 1, 2, 3, 70_001, 70_000, 65_000, 65_001]
    assert index.width == 3
    assert spans(index, answer, 2) == [(1, 9), (9, 12), (14, 16)]
    assert spans(index, answer, 3) == [(1, 9), (9, 12)]


def test_spans_may_overlap() -> None:
    assert spans(index_of([1, 2, 3, 4], [3, 4, 5, 6]), [1, 2, 3, 4, 5, 6], 2) == [(0, 4), (2, 6)]


def test_no_span_reaches_from_one_document_into_the_next() -> None:
    assert spans(index_of([1, 2], [3, 4]), [1, 2, 3, 4], 1) == [(0, 2), (2, 4)]


def test_an_answer_may_be_longer_than_any_document() -> None:
    assert spans(index_of([1, 2, 3]), [1, 2, 3] * 3, 2) == [(0, 3), (3, 6), (6, 9)]


@pytest.mark.parametrize("answer", ([], [1], [7], [1, 2], [7, 7, 7, 7, 7]))
def test_there_is_nothing_in_what_is_too_short_or_unknown(answer: list[int]) -> None:
    assert spans(index_of([1, 2, 3]), answer, 3) == []
    assert spans(index_of(), answer, 1) == []
    assert spans(index_of([]), answer, 1) == []


def test_one_token_is_a_span_where_one_is_asked_for() -> None:
    assert spans(index_of([1, 2, 3]), [2], 1) == [(0, 1)]
