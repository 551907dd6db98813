from __future__ import annotations

import pytest

from services.datanet.admit import refusal, too_large
from services.datanet.model import Definition, Field, Policy

DEFINITION = Definition(
    "Terms", "CC-BY-4.0", fields=(Field("term", required=True), Field("definition")), policy=Policy(3, 20)
)


@pytest.mark.parametrize(
    ("fields", "source", "reason"),
    (
        ({}, "", "RECORD_EMPTY"),
        ({"term": " \t\n\u200b"}, "", "RECORD_EMPTY"),
        ({"definition": "heat"}, "", "FIELD_MISSING"),
        ({"term": " ", "definition": "heat"}, "", "FIELD_MISSING"),
        ({"term": "fever", "colour": "red"}, "", "FIELD_UNKNOWN"),
        ({"term": "fe\x00ver"}, "", "CONTROL_CHARACTER"),
        ({"term": "fever\x1b[31m"}, "", "CONTROL_CHARACTER"),
        ({"term": "fever", "definition": "\x85"}, "", "CONTROL_CHARACTER"),
        ({"term": "fever"}, "hp\x00", "CONTROL_CHARACTER"),
        ({"term": "ab"}, "", "TEXT_TOO_SHORT"),
        ({"term": "x" * 10, "definition": "y" * 11}, "", "TEXT_TOO_LONG"),
    ),
)
def test_what_may_not_come_in_has_a_reason(fields, source, reason):
    found = refusal(DEFINITION, fields, source)
    assert found is not None
    assert found.reason == reason


@pytest.mark.parametrize(
    "fields",
    (
        {"term": "fever"},
        {"term": "fever", "definition": ""},
        {"term": "发烧病"},
        {"term": "line\none\ttab\r\n"},
        {"term": "x" * 10, "definition": "y" * 10},
        {"term": "👩\u200d🚀 a"},
    ),
    ids=str,
)
def test_what_follows_the_rules_comes_in(fields):
    assert refusal(DEFINITION, fields, "hp.obo#1") is None


def test_without_a_policy_length_does_not_matter():
    assert refusal(Definition("T", "MIT", fields=(Field("term"),)), {"term": "x" * 10_000}, "") is None


def test_messages_stay_short_whatever_was_sent():
    found = refusal(DEFINITION, {"z" * 100_000: "x"}, "")
    assert found is not None
    assert len(found.message) < 250


def test_too_large_says_by_how_much():
    assert too_large(300, 256).message == "the record has 300 bytes, at most 256 are taken: split it"
