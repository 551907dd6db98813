from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.spans.build import Document, build
from openledger.spans.evidence import Rule, Source, Span, find
from openledger.spans.index import SpanIndex
from tests import span_oracle
from tests.span_oracle import SALT

QUOTE = list(range(100, 112))
FILLER = [Document(0, k, list(range(200 + 20 * k, 220 + 20 * k))) for k in range(10)]


def index_of(*documents: Document, owners: int = 100) -> SpanIndex:
    return SpanIndex(build(documents, owners=owners, salt=SALT))


QUOTED = index_of(*FILLER, Document(7, 20, [1, *QUOTE, 2]), Document(8, 21, [3, 4, *QUOTE]))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Document], list[int], list[int], list[bool] | None, Rule]:
    tokens = st.lists(st.integers(0, 3), max_size=14)
    documents = [
        Document(draw(st.integers(0, 3)), record, draw(tokens))
        for record in sorted(draw(st.lists(st.integers(0, 5), max_size=6)))
    ]
    answer = draw(st.lists(st.integers(0, 4), max_size=16))
    words = draw(st.none() | st.lists(st.booleans(), min_size=len(answer), max_size=len(answer)))
    least = draw(st.integers(1, 5))
    rule = Rule(
        min_tokens=least,
        prompt_run=draw(st.integers(1, least)),
        margin_bits=draw(st.sampled_from((0, 1, 3))),
        few_owners=draw(st.integers(0, 3)),
        common_permille=draw(st.sampled_from((0, 300, 600, 1000))),
        max_places=draw(st.sampled_from((1, 2, 100))),
        named=draw(st.integers(0, 3)),
    )
    return documents, draw(st.lists(st.integers(0, 4), max_size=6)), answer, words, rule


@given(worlds())
def test_evidence_is_that_of_brute_force(world: Any) -> None:
    documents, prompt, answer, words, rule = world
    found = find(index_of(*documents, owners=4), prompt, answer, rule, word_starts=words)
    expected = span_oracle.find(documents, 4, prompt, answer, rule, words)
    assert found == expected


def test_a_quotation_is_found_with_whose_it_is() -> None:
    (span,) = find(QUOTED, [], [50, *QUOTE, 51])
    assert span == Span(1, 13, 2, 2, span.bits, (Source(7, 20, 1), Source(8, 21, 2)))
    assert span.bits == pytest.approx(12 * math.log2(228 / 2), abs=0.01)  # each of 12 tokens stands 2 times among 228


def test_the_same_text_twice_in_a_record_names_its_first_place() -> None:
    index = index_of(*FILLER, Document(3, 20, [1, *QUOTE, 2, *QUOTE]), Document(3, 21, QUOTE))
    (span,) = find(index, [], QUOTE)
    assert (span.count, span.owners, span.sources) == (3, 1, (Source(3, 20, 1),))


def test_pasting_a_text_earns_no_evidence_of_it() -> None:
    for prompt in (QUOTE, [9, *QUOTE, 9], [*QUOTE[:7], 9, *QUOTE[4:]]):
        assert find(QUOTED, prompt, QUOTE) == []
        assert find(QUOTED, prompt, [7, *QUOTE, 8]) == []


def test_what_goes_on_behind_a_pasted_beginning_counts_alone() -> None:
    (span,) = find(QUOTED, QUOTE[:5], QUOTE)
    assert (span.start, span.end) == (5, 12)
    assert find(QUOTED, QUOTE[:7], QUOTE) == []  # five tokens are too few
    (span,) = find(QUOTED, QUOTE[:5], QUOTE, Rule(prompt_run=6))
    assert (span.start, span.end) == (0, 12)


def test_what_the_prompt_says_within_a_span_adds_nothing_to_it() -> None:
    (whole,) = find(QUOTED, [], QUOTE)
    (span,) = find(QUOTED, QUOTE[4:7], QUOTE)
    assert (span.start, span.end) == (0, 12)
    assert span.bits == pytest.approx(whole.bits * 9 / 12)
    assert find(QUOTED, QUOTE[3:10], QUOTE) == []


def test_a_prompt_shorter_than_a_run_masks_nothing() -> None:
    assert len(find(QUOTED, QUOTE[:2], QUOTE)) == len(find(QUOTED, [], QUOTE)) == 1


@pytest.mark.parametrize(("holders", "owners", "shown"), ((4, 10, 1), (5, 10, 0), (5, 100, 1), (6, 100, 0)))
def test_a_phrase_of_many_contributors_is_common(holders: int, owners: int, shown: int) -> None:
    documents = [*FILLER, *(Document(k, 20 + k, QUOTE) for k in range(holders))]
    assert len(find(index_of(*documents, owners=owners), [], QUOTE)) == shown


def test_a_phrase_that_stands_everywhere_is_common() -> None:
    index = index_of(*FILLER, Document(1, 20, QUOTE * 5))
    assert len(find(index, [], QUOTE, Rule(max_places=5))) == 1
    assert find(index, [], QUOTE, Rule(max_places=4)) == []


def test_what_chance_explains_is_no_evidence() -> None:
    """Six tokens that make up a sixth of the text each: 6 * log2(6) bits, in a text of 600 tokens (9.2 bits)."""
    index = index_of(Document(0, 0, list(range(6)) * 100))
    (span,) = find(index, [], list(range(6)), Rule(margin_bits=6))
    assert span.bits == pytest.approx(15.51, abs=0.01)
    assert find(index, [], list(range(6)), Rule(margin_bits=7)) == []


def test_spans_are_cut_to_whole_words() -> None:
    words = [k % 2 == 0 for k in range(len(QUOTE))]
    (span,) = find(QUOTED, [], QUOTE[1:], word_starts=words[1:])
    assert (span.start, span.end) == (1, 11)
    (span,) = find(QUOTED, [], [*QUOTE[:9], 5], word_starts=[*words[:9], False])
    assert (span.start, span.end) == (0, 8)


def test_so_many_word_starts_as_tokens_are_needed() -> None:
    with pytest.raises(ValueError, match="12 tokens, and 1 word starts"):
        find(QUOTED, [], QUOTE, word_starts=[True])


@pytest.mark.parametrize("answer", ([], [100], [-5] * 20, [2**80] * 20, [999] * 20))
def test_what_cannot_be_found_is_not(answer: list[int]) -> None:
    assert find(QUOTED, [-1, 2**90], answer) == []
    assert find(index_of(), [], answer) == []


def test_no_more_owners_are_named_than_the_rule_says() -> None:
    index = index_of(*FILLER, *(Document(9 - k, 20 + k, QUOTE) for k in range(4)))
    (span,) = find(index, [], QUOTE, Rule(named=2))
    assert (span.owners, span.sources) == (4, (Source(9, 20, 0), Source(8, 21, 0)))


@pytest.mark.parametrize(
    "wrong", ({"min_tokens": 0}, {"prompt_run": 0}, {"prompt_run": 7}, {"named": -1}, {"margin_bits": 1.5})
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Rule(**wrong)
