"""The bench of personal data: what is taken for true in mails, what is made up, and what is counted."""

from __future__ import annotations

import ipaddress

import phonenumbers
import pytest

from bench import personal_data
from bench.personal_data import made, mails
from bench.personal_data.made import KINDS, LOOKALIKES
from services.datanet.checks.span import Span
from tests.needs import needs


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("write to <ann.lee+x@mail.example.org>.", ["ann.lee+x@mail.example.org"]),
        ("ann@example.org,bob@example.co.uk", ["ann@example.org", "bob@example.co.uk"]),
        ("mailto:ann@example.org.", ["ann@example.org"]),
        ("ann@localhost, @ann, ann@, a..b@example.org, ann@1.2.3.4", []),
        ("", []),
    ),
)
def test_an_address_is_what_the_parser_of_the_standard_takes_for_one(text, said):
    assert [text[start:end] for start, end in mails.addresses(text)] == said


def test_of_a_mail_is_read_what_a_person_sees():
    mail = "From x  Thu\nReceived: from a@b.org\nFrom: Ann\n\t<ann@example.org>\nSubject: Hi\nX-Y: z\n\nBody\n\nmore"
    assert mails.shown(mail) == "From: Ann <ann@example.org>\nSubject: Hi\n\nBody\n\nmore"


def test_made_sentences_say_where_what_stands():
    found = list(made.sentences(12, 1))
    assert {one.kind for one in found} == set(KINDS) | set(LOOKALIKES)
    for one in found:
        if one.kind in KINDS:
            assert one.text[one.start : one.end].strip() == one.text[one.start : one.end] != ""
    assert list(made.sentences(12, 1)) == found


@needs("presidio")
def test_made_numbers_have_their_check_digits():
    said = {
        kind: [one.text[one.start : one.end] for one in made.sentences(30, 2) if one.kind == kind] for kind in KINDS
    }
    assert all(ipaddress.ip_address(ip).is_global for ip in said["IP"])
    assert sum(_is_number(phone) for phone in said["PHONE"]) >= 0.8 * len(said["PHONE"])
    recognisers = pytest.importorskip("presidio_analyzer.predefined_recognizers")
    for kind, recogniser in (("CARD", recognisers.CreditCardRecognizer()), ("IBAN", recognisers.IbanRecognizer())):
        assert all(recogniser.analyze(number, [], None) for number in said[kind])


def _is_number(phone: str) -> bool:
    found = (phonenumbers.PhoneNumberMatcher(phone, region).has_next() for region in ("US", "GB", "FR"))
    return any(found)


def test_counts_of_mails(monkeypatch):
    text = "ann@example.org and bob@example.org"
    found = [Span(0, 15, "EMAIL"), Span(16, 19, "EMAIL"), Span(0, 3, "NAME")]
    monkeypatch.setattr(personal_data.patterns, "find", lambda _: found)
    counted = personal_data.in_mails([text])
    assert (counted["addresses"], counted["recall"], counted["precision"], counted["exact"]) == (2, 0.5, 0.5, 0.5)


def test_figures_are_means_over_kinds_and_the_worst_one():
    rows = [
        {"kind": "A", "recall": 1.0, "precision": 0.5},
        {"kind": "B", "recall": 0.5, "precision": 1.0},
        {"lookalike": "C", "left_alone": 0.9},
    ]
    assert personal_data.made_figures(rows) == {
        "made_recall": 0.75,
        "made_recall_least": 0.5,
        "made_precision": 0.75,
        "made_precision_least": 0.5,
        "lookalikes_left_alone": 0.9,
    }
