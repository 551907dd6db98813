from __future__ import annotations

import random
import socket
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.datanet.checks import patterns
from services.datanet.checks.patterns import MARGIN, NAMES, PIECE, find
from tests.needs import needs

pytestmark = needs("presidio")

FOUND = {
    "ann.lee+news@mail.example.org": "EMAIL",
    "o'hara@example.co.uk": "EMAIL",
    "j\u00f6rg@b\u00fccher.example.de": "EMAIL",
    "+44 20 7946 0958": "PHONE",
    "(212) 555-2368": "PHONE",
    "+49 30 901820": "PHONE",
    "tel. 02079460958": "PHONE",
    "4111 1111 1111 1111": "CARD",
    "5500-0055-5555-5559": "CARD",
    "DE89 3704 0044 0532 0130 00": "IBAN",
    "GB82WEST12345698765432": "IBAN",
    "536-90-4399": "SSN",
    "SSN 536 90 4399": "SSN",
    "93.184.216.34": "IP",
    "2606:2800:220:1:248:1893:25c8:1946": "IP",
    "0x52908400098527886E0F7030069857D2E4169EE7": "WALLET",
    "0xde709f2102306220921060314715629080e2fb77": "WALLET",
    "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq": "WALLET",
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa": "WALLET",
    "cosmos1fl48vsnmsdzcv85q5d2q4z5ajdha8yu34mf0eh": "WALLET",
}

PASSED = (
    "",
    "Follow me @annlee, or ask @all.",
    "x@y is no address, nor is a@b.notasuffix",
    "PMID 12345678, HP:0000003, OMIM 123456",
    "1609459200 seconds later, 20210101120000",
    "3.141592653589793",
    "Section 1.2.3.4 of version 2.0.1.7, and the enzyme EC 1.14.14.16",
    "127.0.0.1, 10.0.0.1, 192.168.100.200, ::1, fe80::1",
    "std::vector and at 12:30:45",
    "4111 1111 1111 1112",
    "DE89 3704 0044 0532 0130 01",
    "000-12-3456",
    "536 90 4399 pieces",
    "0x52908400098527886E0F7030069857D2E4169E",
    "0x" + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318",
    "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdx",
    "between 1990 and 2003, 45 to 60 of 100",
    "ISBN 978-3-16-148410-0",
    "doi 10.1016/0092-8674(91)90005-X",
    "2021-03-04 05:06:07",
    "Software 19(3):333-359, 63(2):339-355",
    "http://dx.doi.org/10.1145/155743.155788 4.",
    "[ 2.23  4.44]   [-0.769  4.85  3.05]",
    "0.16302205431184",
    "an implementation would be::",
    "call 192.168.100.200 on the server ::",
)


@pytest.mark.parametrize(("said", "kind"), FOUND.items())
def test_what_has_a_form_is_found_and_nothing_around_it(said, kind):
    for text in (said, f"Write to {said}, please.", f"({said})"):
        (span,) = [span for span in find(text) if span.kind == kind]
        found = text[span.start : span.end]
        assert found in said
        assert len(found) + len("tel. ") >= len(said)


@pytest.mark.parametrize("said", PASSED)
def test_what_could_be_any_number_is_not(said):
    assert find(said) == []


def test_every_kind_is_tried():
    assert set(FOUND.values()) == set(NAMES)


@pytest.mark.parametrize("place", (0, PIECE - 5, PIECE - 1, PIECE, PIECE + MARGIN - 3, PIECE + MARGIN, 2 * PIECE - 9))
def test_what_stands_across_two_pieces_is_found_once_and_whole(place):
    for said, kind in FOUND.items():
        text = "word " * (place // 5) + "." * (place % 5) + f" {said} " + "word " * 1000
        spans = [span for span in find(text) if span.kind == kind]
        assert [text[span.start : span.end] in said for span in spans] == [True]
        assert spans[0].end - spans[0].start + len("tel. ") >= len(said)


def test_the_scan_never_passes_what_a_recogniser_finds(monkeypatch):
    draw = random.Random(0)
    parts = [*FOUND, *PASSED, " ", "\n", ", ", "word", "12", "@"]
    texts = ["".join(draw.choices(parts, k=4)) for _ in range(300)]
    found = [find(text) for text in texts]
    everything = patterns.re.compile("")
    kinds = tuple(replace(kind, trace=everything) for kind in patterns._kinds())
    monkeypatch.setattr(patterns, "_kinds", lambda: kinds)
    monkeypatch.setattr(patterns, "_trace", lambda: everything)
    assert [find(text) for text in texts] == found


def test_nothing_is_asked_of_the_network(monkeypatch):
    def no_network(*_):
        raise AssertionError

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assert find("ann@some-new-name.example.org")


@pytest.mark.parametrize("said", ("a-" * 15_000, "1 " * 15_000, "a@" * 15_000, ":" * 30_000, "1." * 15_000))
def test_a_text_made_to_take_long_does_not(said):
    find(said)


@given(st.text(max_size=300))
def test_any_text_is_read(said):
    assert all(0 <= span.start < span.end <= len(said) for span in find(said))
