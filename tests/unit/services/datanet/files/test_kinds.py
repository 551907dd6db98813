"""What a file is, whatever it is called, and what its name is shown as."""

from __future__ import annotations

import re

import pytest

from services.datanet.files import labels
from services.datanet.files.found import Refused
from services.datanet.files.kinds import Kind, sniff
from tests import hostile_files

DOCX = hostile_files.docx_of(hostile_files.docx_body("x"))


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    (
        (b"%PDF-1.7 ...", "a.pdf", Kind.PDF),
        (b"%PDF-1.7 ...", "a", Kind.PDF),
        (b"%PDF-1.7 ...", "a.dat", Kind.PDF),
        (DOCX, "a.DOCX", Kind.DOCX),
        (b"\xff\xd8\xff\xe0", "a.jpeg", Kind.JPEG),
        (b"\x89PNG\r\n\x1a\n", "a.png", Kind.PNG),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "a.webp", Kind.WEBP),
        (b"text", "a.md", Kind.MARKDOWN),
        (b"text", "a.csv", Kind.CSV),
        (b"text", "a.tsv", Kind.CSV),
        (b"text", "a.txt", Kind.TEXT),
        (b"text", "README", Kind.TEXT),
        (b"text", ".txt", Kind.TEXT),
        (b'{"text": "a"}\n', "records", Kind.JSONL),
        (b'\xef\xbb\xbf{"text": "a"}\n', "records", Kind.JSONL),
        (b'{"text": "a"}\n', "records.txt", Kind.TEXT),
        (b"{not json", "records", Kind.TEXT),
        ("text".encode("utf-16"), "a.txt", Kind.TEXT),
    ),
)
def test_bytes_say_what_a_file_is_and_names_decide_between_texts(data, name, kind):
    assert sniff(data, name) is kind


@pytest.mark.parametrize(
    ("data", "name", "reason", "told"),
    (
        (b"", "a.txt", "FILE_EMPTY", "no bytes"),
        (b"%PDF-1.7", "a.txt", "WRONG_TYPE", r"\.txt"),
        (b"\x89PNG\r\n\x1a\n", "a.jpg", "WRONG_TYPE", "image/png"),
        (b"just text", "a.pdf", "WRONG_TYPE", r"\.pdf"),
        (b"GIF89a", "a.gif", "TYPE_NOT_TAKEN", "GIF"),
        (b"GIF89a", "a.png", "TYPE_NOT_TAKEN", "GIF"),
        (b"MZ\x90\x00", "invoice.pdf", "TYPE_NOT_TAKEN", "program"),
        (hostile_files.archive({"a.txt": b"x"}), "a.docx", "TYPE_NOT_TAKEN", "unpack"),
        (b"\x1f\x8b\x08", "a.jsonl", "TYPE_NOT_TAKEN", "gzip"),
        (b"\x00\x01\x02", "a.txt", "TYPE_NOT_TAKEN", "no text"),
        (b"\x00\x00\x00\x18ftypheic", "a.heic", "TYPE_NOT_TAKEN", "JPEG"),
    ),
)
def test_what_is_not_read_says_what_it_is(data, name, reason, told):
    with pytest.raises(Refused, match=told) as caught:
        sniff(data, name)
    assert caught.value.problem.reason == reason


@pytest.mark.parametrize(
    ("name", "shown"),
    (
        ("notes.txt", "notes.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.csv", "a.csv"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("a\x00b\n.txt", "ab.txt"),
        ("photo\u202egnp.exe", "photognp.exe"),
        ("cafe\u0301.md", "café.md"),
        ("  a \t b .txt", "a b .txt"),
        ("x" * 300 + ".jsonl", "x" * 113 + "….jsonl"),
        (".hidden", "hidden"),
    ),
)
def test_a_name_is_shown_without_what_is_no_name(name, shown):
    assert labels.shown(name) == shown
    assert len(labels.shown(name)) <= 120


@pytest.mark.parametrize(
    ("name", "how"),
    (
        ("photo\u202egnp.exe", r"U\+202E"),
        ("pa\u200by.txt", r"U\+200B"),
        ("p\u0430ypal.txt", "Cyrillic and Latin"),
        ("notes.\u0441sv", "Cyrillic and Latin"),
        ("\uff41bc.txt", "Fullwidth and Latin"),
    ),
)
def test_a_name_that_pretends_is_found_out(name, how):
    assert re.search(how, labels.misleads(name))


@pytest.mark.parametrize("name", ("notes.txt", "заметки.txt", "café 3.md", "数据.csv", "δεδομένα-v2.csv", "ملف.txt"))
def test_names_of_all_alphabets_are_names(name):
    assert labels.misleads(name) == ""
