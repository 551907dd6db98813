from __future__ import annotations

from dataclasses import replace

import pytest

from services.datanet import search
from services.datanet.model import Content, Definition, Record
from services.kit.errors import Fault

RECORD = Record("r", "terms", 1, "0x" + "a" * 40, "MIT", b"", 100, 1)


def rows(*texts: str, size: int = 100):
    for number, text in enumerate(texts, 1):
        yield replace(RECORD, number=number, size=size), Content({"text": text}, f"page {number}", b"", b"")


def numbers(found) -> list[int]:
    return [record.number for record, _ in found]


def test_words_are_found_in_any_case_order_and_composition():
    wanted = search.words("  FIEBER é ", "query")
    assert wanted == ("fieber", "é")
    assert search.holds(["É und Fieber"], wanted)
    assert search.holds(["Fieberkurve", "caf\u0065\u0301"], wanted), "parts of words, and letters that are composed"
    assert not search.holds(["Fieber"], wanted)
    assert search.words("straße STRASSE", "query") == ("strasse",)
    assert search.holds(["anything"], search.words("", "query"))


def test_too_many_words_are_refused_by_the_fields_name():
    search.words("one " * 50, "filter")
    with pytest.raises(Fault, match="filter: has 9 words"):
        search.words("a b c d e f g h i", "filter")


def test_a_datanet_is_found_by_all_that_its_owner_says_of_it():
    about = search.about("terms", Definition("Rare Diseases", "MIT", "What they\nmean.", ("Medicine",)))
    assert about == "terms rare diseases what they mean. medicine"


def test_a_page_ends_where_it_is_full_and_tells_where_to_go_on():
    texts = ("one", "two one", "two", "one")
    found, last = search.among(rows(*texts), ("one",), 2)
    assert (numbers(found), last) == ([1, 2], 2)
    found, last = search.among(rows(*texts), ("one",), 9)
    assert (numbers(found), last) == ([1, 2, 4], 0)
    assert search.among(rows(*texts), ("page", "3"), 9)[0][0][0].number == 3


def test_one_call_looks_through_so_many_records_and_bytes_only(monkeypatch):
    monkeypatch.setattr(search, "AT_ONCE", 3)
    assert search.among(rows(*"abcde"), ("x",), 9) == ([], 3)
    monkeypatch.setattr(search, "AT_ONCE_BYTES", 150)
    assert search.among(rows(*"abcde"), ("x",), 9) == ([], 2)


def test_a_page_of_large_records_fits_into_a_message():
    found, last = search.among(rows(*"aaaa", size=600_000), ("a",), 9)
    assert (numbers(found), last) == ([1, 2], 2)


def test_questions_tell_other_questions_tokens_apart_and_not_their_words():
    asked = search.question("terms", ("fever",))
    assert asked != search.question("terms", ("fevers",))
    assert asked != search.question("words", ("fever",))
    assert "fever" not in asked
