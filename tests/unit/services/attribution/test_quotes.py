"""Quotes of a span index: whose are named, and how often they stand where."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openledger.spans.build import Document, build
from openledger.spans.index import SpanIndex
from openledger.spans.layout import SpanIndexError
from services.attribution.quotes import Source, quotes
from tests.attribution_world import Artifacts

ANNE, BERT, CAROL = PEOPLE = [f"0x{n}{n}" + "00" * 19 for n in "abc"]
RARE = list(range(100, 112))
OTHER = list(range(200, 212))


def filler(seed):
    return [(seed * 37 + k * 11) % 50 for k in range(40)]


@pytest.fixture(scope="module")
def data():
    """Anne quotes RARE in three of her records, twice in one; Bert has it too, and OTHER; Carol has neither."""
    texts = [(0, filler(1) + RARE), (0, RARE + filler(2) + RARE), (1, filler(3) + OTHER), (1, RARE + filler(4)),
             (2, filler(5)), (0, filler(6) + RARE + filler(7))]  # fmt: skip
    documents = [Document(owner, number, tokens) for number, (owner, tokens) in enumerate(texts)]
    return build(documents, owners=3, salt=bytes(32))


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    made = Artifacts(tmp_path_factory.mktemp("a"), None, (1, 2, 3), ())

    class Adapter:
        revision, base_sha256 = "adapters/a/revisions/" + "0" * 64, "ab" * 32

    return replace(made, adapter=Adapter()).trace(1, completion_token_ids=(70, *RARE, 71, *OTHER, 72))


def found(data, trace, shown):
    return [(q.start, q.end, q.sources) for q in quotes(SpanIndex(data), trace, PEOPLE, shown, None)]


def test_all_records_of_those_who_are_shown_are_counted(data, trace):
    rare, other = found(data, trace, PEOPLE)
    assert rare == (1, 13, (Source(ANNE, (0, 1, 5), 4), Source(BERT, (3,), 1)))
    assert other == (14, 26, (Source(BERT, (2,), 1),))


def test_those_who_are_not_shown_leave_no_sign(data, trace):
    assert found(data, trace, {ANNE}) == [(1, 13, (Source(ANNE, (0, 1, 5), 4),))]
    assert found(data, trace, {CAROL}) == found(data, trace, set()) == []


def test_words_that_the_prompt_says_are_not_quotes(data, trace):
    asked = replace(trace, prompt_token_ids=(1, *RARE))
    assert [start for start, _, _ in found(data, asked, PEOPLE)] == [14]


def test_an_index_of_other_contributors_is_refused(data, trace):
    with pytest.raises(SpanIndexError, match="is of 3 contributors, not of 2"):
        quotes(SpanIndex(data), trace, PEOPLE[:2], PEOPLE, None)
