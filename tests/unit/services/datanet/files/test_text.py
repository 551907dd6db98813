"""Encodings that are told apart, and what is mended."""

from __future__ import annotations

import pytest

from services.datanet.files import text
from services.datanet.files.found import Refused

FRENCH = "L'été dernier, nous avons été à la mer; c'était très agréable, même à l'hôtel. Où ça ?"
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy. Včera jsme šli domů a bylo to velmi příjemné, děti se smály."
RUSSIAN = "Вчера мы пошли домой, и было очень приятно, дети смеялись."
JAPANESE = "日本語のテキストです。これは長い文章です。"


@pytest.mark.parametrize(
    ("said", "encoding", "told"),
    (
        (FRENCH, "utf-8", "utf-8"),
        (FRENCH, "utf-8-sig", "utf-8"),
        (FRENCH, "utf-16", "utf-16-le"),
        (FRENCH, "utf-32", "utf-32-le"),
        (FRENCH, "cp1252", "cp1252"),
        (CZECH, "cp1250", "cp1250"),
        (RUSSIAN, "cp1251", "cp1251"),
        (JAPANESE, "cp932", "cp932"),
    ),
)
def test_an_encoding_is_told_by_marks_and_by_what_reads_well(said, encoding, told):
    assert text.decoded(said.encode(encoding)) == (said, told)


@pytest.mark.parametrize(
    ("data", "reason", "place"),
    (
        ("naïve\n".encode() + b"caf\xe9\n", "ENCODING_MIXED", "line 2"),
        (b"caf\xe9", "ENCODING_UNKNOWN", ""),
        ("Dün akşam eve giderken çok güzel bir şey gördüm, ağaçlar".encode("cp1254"), "ENCODING_UNKNOWN", ""),
        (b"\xff\xfea", "ENCODING_UNKNOWN", ""),
        (b"\xef\xbb\xbfcaf\xe9", "ENCODING_UNKNOWN", ""),
    ),
)
def test_what_cannot_be_told_is_not_guessed(data, reason, place):
    with pytest.raises(Refused) as caught:
        text.decoded(data)
    assert (caught.value.problem.reason, caught.value.problem.place) == (reason, place)


@pytest.mark.parametrize(
    ("said", "meant", "notes"),
    (
        ("plain, with\ttabs\nand lines", "plain, with\ttabs\nand lines", ()),
        ("  ends \n", "ends", ()),
        ("Ã©tÃ©", "été", ("letters mended",)),
        ("e\u0301te\u0301", "été", ("characters composed",)),
        ("a\x00b\x1b[31m", "ab", ("letters mended",)),
        ("été", "été", ()),
        ("“quoted” — ﬁne", "“quoted” — fine", ("letters mended",)),
        ("\uff37\uff29 &amp;", "\uff37\uff29 &amp;", ()),
        ("one\r\ntwo", "one\ntwo", ()),
        ("\ufeff", "", ()),
    ),
)
def test_a_text_is_mended_and_says_so(said, meant, notes):
    assert text.mended(said) == (meant, notes)


def rows(data: bytes, *wanted: str) -> list[tuple[str, dict[str, str]]]:
    return [(row.place, dict(row.texts)) for row in text.read(data, wanted).rows]


def test_paragraphs_are_parted_by_blank_lines_and_say_where_they_begin():
    data = b"\n\none\nstill one\n  \n\n  two\n\n\n"
    assert [(place, texts["paragraph"].strip()) for place, texts in rows(data)] == [
        ("line 3", "one\nstill one"),
        ("line 7", "two"),
    ]


def test_a_text_is_whole_where_that_is_asked_for():
    assert rows(b"one\n\ntwo", "whole") == [("", {"whole": "one\n\ntwo"})]
    assert rows(b" \n", "whole") == []


def test_a_file_is_taken_apart_in_one_way():
    with pytest.raises(Refused, match="one way"):
        text.read(b"a", {"whole", "paragraph"})
