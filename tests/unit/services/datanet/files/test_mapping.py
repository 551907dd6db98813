"""Which part becomes which field."""

from __future__ import annotations

import pytest

from services.datanet.files import mapping
from services.datanet.files.found import Problem, Refused, Row
from services.datanet.files.mapping import Entry

SECTIONS = ("heading", "section", "whole")


@pytest.mark.parametrize(
    ("parts", "said", "fields", "decided"),
    (
        (("Text", "id"), {}, ("text",), {"Text": "text"}),
        (("My text", "x"), {}, ("my-text", "y"), {"My text": "my-text"}),
        (("text", "TEXT"), {}, ("text",), {"text": "text"}),
        (("said",), {}, ("text",), {"said": "text"}),
        (("a", "b"), {"b": "text"}, ("text", "title"), {"b": "text"}),
        (("paragraph", "whole"), {}, ("text",), {"paragraph": "text"}),
        (("paragraph", "whole"), {}, ("anything",), {"paragraph": "anything"}),
        (("paragraph", "whole"), {}, ("text", "title"), {"paragraph": "text"}),
        (("paragraph", "whole"), {"whole": "title"}, ("text", "title"), {"whole": "title"}),
        (SECTIONS, {}, ("text",), {"section": "text"}),
        (SECTIONS, {}, ("heading", "body"), {"heading": "heading", "section": "body"}),
        (SECTIONS, {"heading": "q", "section": "a"}, ("q", "a"), {"heading": "q", "section": "a"}),
    ),
)
def test_a_mapping_is_as_the_person_says_or_as_names_suggest(parts, said, fields, decided):
    assert mapping.decide(parts, said, fields) == decided


@pytest.mark.parametrize(
    ("parts", "said", "fields", "reason", "told"),
    (
        (("a", "b"), {}, ("text",), "MAPPING_UNCLEAR", "'a', 'b'"),
        (("a",), {}, ("q", "title"), "MAPPING_UNCLEAR", "'q', 'title'"),
        (("paragraph", "whole"), {}, ("q", "a"), "MAPPING_UNCLEAR", "give a mapping"),
        ((), {"a": "text"}, ("text",), "NOTHING_FOUND", "no columns"),
        (("a",), {"b": "text"}, ("text",), "PART_UNKNOWN", "no 'b'; it has 'a'"),
        (("a",), {"a": "txt"}, ("text",), "FIELD_UNKNOWN", "there are: 'text'"),
        (("a", "b"), {"a": "text", "b": "text"}, ("text",), "FIELD_TWICE", "'text'"),
        (tuple(f"c{i}" for i in range(30)), {}, ("text",), "MAPPING_UNCLEAR", "and 10 more"),
    ),
)
def test_what_cannot_be_mapped_says_what_there_is(parts, said, fields, reason, told):
    with pytest.raises(Refused, match=told) as caught:
        mapping.decide(parts, said, fields)
    assert caught.value.problem.reason == reason


def test_a_row_becomes_fields_and_says_what_was_changed():
    row = Row("row 2", {"a": " Ã©tÃ© ", "b": "x", "c": "left out"})
    assert mapping.entry(row, {"a": "text", "b": "title"}, 100) == Entry(
        "row 2", {"text": "été", "title": "x"}, ("letters mended",)
    )


def test_a_heading_that_has_no_field_stands_before_its_section():
    row = Row("line 1", {"heading": "H", "section": "body"})
    assert mapping.entry(row, {"section": "text"}, 100) == Entry("line 1", {"text": "H\n\nbody"})
    assert mapping.entry(row, {"heading": "q", "section": "a"}, 100) == Entry("line 1", {"q": "H", "a": "body"})
    assert mapping.entry(Row("line 1", {"heading": "", "section": "b"}), {"section": "text"}, 9) == Entry(
        "line 1", {"text": "b"}
    )


def test_a_row_without_what_is_mapped_is_no_record():
    assert mapping.entry(Row("row 2", {"a": " "}), {"a": "text", "b": "title"}, 100) is None


@pytest.mark.parametrize(
    ("text", "reason"), (("é" * 51, "RECORD_TOO_LARGE"), ("a\ud800", "NOT_UNICODE"), ("\udc00", "NOT_UNICODE"))
)
def test_a_row_that_can_be_no_record_is_told(text, reason):
    found = mapping.entry(Row("row 2", {"a": text}), {"a": "text"}, 100)
    assert isinstance(found, Problem)
    assert (found.place, found.reason) == ("row 2", reason)


def test_two_halves_are_a_character():
    found = mapping.entry(Row("row 2", {"a": "\ud83d\ude00"}), {"a": "text"}, 100)
    assert found == Entry("row 2", {"text": "😀"}, ("letters mended",))
