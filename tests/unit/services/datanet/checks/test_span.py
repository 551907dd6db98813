from __future__ import annotations

import pytest

from services.datanet.checks.mask import masked
from services.datanet.checks.span import SOURCE, Span, described, merged, texts
from services.datanet.draft import Draft


@pytest.mark.parametrize(
    ("spans", "one"),
    (
        ([], []),
        ([Span(5, 9, "B"), Span(0, 4, "A")], [Span(0, 4, "A"), Span(5, 9, "B")]),
        ([Span(0, 4, "A"), Span(4, 9, "B")], [Span(0, 4, "A"), Span(4, 9, "B")]),
        ([Span(2, 9, "A"), Span(0, 4, "B")], [Span(0, 9, "A")]),
        ([Span(0, 4, "B"), Span(2, 9, "A")], [Span(0, 9, "B")]),
        ([Span(0, 2, "C"), Span(1, 5, "A"), Span(4, 9, "B")], [Span(0, 9, "C")]),
        ([Span(4, 9, "A"), Span(0, 2, "C"), Span(1, 5, "B")], [Span(0, 9, "A")]),
    ),
)
def test_what_overlaps_becomes_one_of_the_first_kind(spans, one):
    assert merged(spans) == one


def test_a_mask_has_the_same_number_for_the_same_thing_in_all_of_a_record():
    fields = {"a": "ann@x.org wrote to bob@x.org", "b": "ANN@x.org, Ann Lee", "c": "nothing"}
    found = {"a": [Span(19, 28, "EMAIL"), Span(0, 9, "EMAIL")], "b": [Span(0, 9, "EMAIL"), Span(11, 18, "NAME")]}
    assert masked(fields, found) == {"a": "[EMAIL 1] wrote to [EMAIL 2]", "b": "[EMAIL 1], [NAME 1]", "c": "nothing"}


def test_a_description_counts_and_never_quotes():
    found = {"a": [Span(0, 9, "X"), Span(11, 18, "X"), Span(20, 22, "Y")], SOURCE: [Span(0, 1, "Y")]}
    assert described(found, {"X": "name", "Y": "number"}) == "'a': name (2), number; '(source)': number"


def test_a_records_source_is_read_like_its_fields():
    assert texts(Draft(0, {"source": "a"}, "b")) == {"source": "a", SOURCE: "b"}
