"""Personal data that has a form: e-mail, IP and wallet addresses; numbers of phones, cards, accounts and insurance.

Presidio's recognisers find them, and two of ours.  What a check digit or a form of its own makes sure of is taken;
what could be any number is taken only after a word that says what it is.

A piece of text without a trace of any of them costs one scan.  A text is read in pieces, because some of the
expressions take time with the square of a text's length, and Presidio passes over, in silence, what took too long.

Does not find dates of birth, postal addresses, passports, registers of other countries than the United States,
numbers in words, and addresses written to deceive ("ann at example dot org").
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from services.datanet.checks.span import Span

NAMES = {
    "EMAIL": "e-mail address",
    "IBAN": "bank account number",
    "CARD": "payment card number",
    "WALLET": "wallet address",
    "SSN": "social security number",
    "IP": "IP address",
    "PHONE": "phone number",
}
"""Kinds, and what they are called; where two meet, the first one names it."""

PIECE, MARGIN = 1800, 200
"""Characters of a piece, and of what is read before and after it; nothing that is found is longer than a margin."""
_CONTEXT = 40
"""Characters before a number in which a word can say what it is."""
_SURE_SCORE = 0.4
"""From which Presidio's word is enough, without one in the text."""

_DOTTED = re.compile(r"[\d.]+")
_TABLE = re.compile(r"[\[\]]|\s\s|\d\.\d+\s")
_BEFORE = re.compile(r"\d[./]$")


@dataclass(frozen=True)
class _Kind:
    """What is found.

    trace: what a text has where one is found.  could: whether a match can be one.  sure: also without one of the words
    before it.  whole: it is no part of a longer number.
    """

    id: str
    trace: re.Pattern[str]
    recogniser: Any
    could: Callable[[str], bool] = lambda _: True
    sure: Callable[[str], bool] = lambda _: True
    words: re.Pattern[str] | None = None
    whole: bool = False


def find(text: str) -> list[Span]:
    """What is found, by kinds in the order of `NAMES`; spans of different kinds may overlap."""
    found = {span for begin, piece in _pieces(text) if _trace().search(piece) for span in _of_piece(begin, piece)}
    ranks = {kind: rank for rank, kind in enumerate(NAMES)}
    return sorted(found, key=lambda span: (ranks[span.kind], span))


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Pieces with their margins, and where each begins."""
    for start in range(0, max(len(text), 1), PIECE):
        begin = max(start - MARGIN, 0)
        yield begin, text[begin : start + PIECE + MARGIN]


def _of_piece(begin: int, piece: str) -> Iterator[Span]:
    """What begins in the piece itself; what begins in its margins is found with the piece that it is in."""
    first = min(begin, MARGIN)
    for kind in _kinds():
        if not kind.trace.search(piece):
            continue
        for result in kind.recogniser.analyze(piece, [], None):
            start, end = result.start, result.end
            if piece[start] == "(" and ")" not in piece[start:end]:
                start += 1  # a bracket around more than this
            if first <= start < first + PIECE and _is_one(kind, piece, start, end, result.score):
                yield Span(begin + start, begin + end, kind.id)


def _is_one(kind: _Kind, piece: str, start: int, end: int, score: float) -> bool:
    matched = piece[start:end]
    if not kind.could(matched) or (kind.whole and _BEFORE.search(piece, max(start - 2, 0), start)):
        return False
    if score >= _SURE_SCORE and kind.sure(matched):
        return True
    return kind.words is not None and kind.words.search(piece, max(start - _CONTEXT, 0), start) is not None


def _may_be_dialled(number: str) -> bool:
    """Pages (339-355) have fewer digits, and rows of a table are further apart."""
    return sum(map(str.isdigit, number)) >= 7 and _TABLE.search(number) is None


def _formatted(number: str) -> bool:
    """Of a phone: with a plus, blanks, hyphens; what is digits and dots alone could be any number."""
    return _DOTTED.fullmatch(number) is None


def _is_public(address: str) -> bool:
    """Not of a private network."""
    return ipaddress.ip_interface(address).ip.is_global


def _is_long(address: str) -> bool:
    """What is shorter could be a version, an enzyme's EC number (1.14.14.16), or be:: of code."""
    return len(address) >= len("1.23.45.678")


@cache
def _trace() -> re.Pattern[str]:
    """Of any kind."""
    return re.compile("|".join(dict.fromkeys(kind.trace.pattern for kind in _kinds())))


@cache
def _kinds() -> tuple[_Kind, ...]:
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        IbanRecognizer,
        IpRecognizer,
        PhoneRecognizer,
        UsSsnRecognizer,
    )

    from services.datanet.checks import recognisers

    digits = re.compile(r"\d(?:[^\w\n]{0,3}\d){6}")
    wallet = re.compile(r"0x[0-9a-fA-F]{40}|1[02-9ac-hj-np-zA-Z]{38}|[13][1-9A-HJ-NP-Za-km-z]{25}")
    insurance = re.compile(r"\b(?:social|security|ssn|ssns|insurance)\b", re.IGNORECASE)
    phone = re.compile(r"\b(?:phone|telephone|tel|cell|cellphone|mobile|call|fax|whatsapp|sms)\b", re.IGNORECASE)
    ip = re.compile(r"\b(?:ip|ipv4|ipv6|host|server)\b", re.IGNORECASE)
    address = re.compile(r"\d\.\d{1,3}\.\d|:[0-9a-fA-F]{0,4}:")
    return (
        _Kind("EMAIL", re.compile("@"), recognisers.Email()),
        _Kind("IBAN", re.compile(r"[A-Z]{2}\d\d[ -]?[A-Z0-9]{4}"), IbanRecognizer()),
        _Kind("CARD", re.compile(r"\d(?:[ -]?\d){11}"), CreditCardRecognizer(), whole=True),
        _Kind("WALLET", wallet, recognisers.Wallet()),
        _Kind("SSN", digits, UsSsnRecognizer(), sure=lambda number: "-" in number, words=insurance),
        _Kind("IP", address, IpRecognizer(), _is_public, _is_long, ip),
        _Kind("PHONE", digits, PhoneRecognizer(), _may_be_dialled, _formatted, phone, whole=True),
    )
