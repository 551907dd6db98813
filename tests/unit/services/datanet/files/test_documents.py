"""Documents in sections and pages: Markdown, PDF, DOCX."""

from __future__ import annotations

import pytest

from services.datanet.files import docx, markdown, pdf
from services.datanet.files.found import Refused
from tests import hostile_files as files

MARKDOWN = b"""\
---
title: head
---
before

# One #
first
```
# no heading
```
Two
---
- item
---
| a |
---
#no heading
### Empty
####
last
"""


def rows(source) -> list[tuple[str, dict[str, str]]]:
    return [(row.place, {part: text.strip() for part, text in row.texts.items()}) for row in source.rows]


def refused(read, data: bytes, *wanted: str) -> str:
    with pytest.raises(Refused) as caught:
        list(read(data, wanted).rows)
    return caught.value.problem.reason


def test_markdown_is_parted_at_its_headings():
    assert rows(markdown.read(MARKDOWN, ())) == [
        ("line 4", {"heading": "", "section": "before"}),
        ("line 6", {"heading": "One", "section": "first\n```\n# no heading\n```"}),
        ("line 11", {"heading": "Two", "section": "- item\n---\n| a |\n---\n#no heading"}),
        ("line 19", {"heading": "", "section": "last"}),
    ]


def test_markdown_is_whole_where_that_is_asked_for():
    assert rows(markdown.read(b"# a\nb", ["whole"])) == [("", {"whole": "# a\nb"})]


@pytest.mark.parametrize("data", (b"```\n# in a fence that never ends", b"~~~\n```\n# x", b"    # code"))
def test_what_is_code_is_no_heading(data):
    assert [texts["heading"] for _, texts in rows(markdown.read(data, ()))] == [""]


@pytest.mark.parametrize(
    ("line", "heading"),
    (
        ("# One", "One"),
        ("###### Six ######", "Six"),
        ("   # Indented #", "Indented"),
        ("# C#", "C#"),
        ("# ##", ""),
        ("#", ""),
        ("#\tTab", "Tab"),
        ("# " + " " * 10**5 + "far", "far"),
    ),
)
def test_what_a_line_of_hashes_says(line, heading):
    assert rows(markdown.read(f"{line}\ntext".encode(), ())) == [("line 1", {"heading": heading, "section": "text"})]


@pytest.mark.parametrize("line", ("####### Seven", "#tag", "    # Code", "\\# Escaped"))
def test_what_is_no_line_of_hashes(line):
    ((_, found),) = rows(markdown.read(line.encode(), ()))
    assert found == {"heading": "", "section": line.strip()}


def test_a_pdf_is_read_by_pages_by_bookmarks_and_whole():
    data = files.pdf(["zero", "one", "", "three"], {1: "First", 3: "Second"})
    assert rows(pdf.read(data, ())) == [
        ("page 1", {"page": "zero"}),
        ("page 2", {"page": "one"}),
        ("page 4", {"page": "three"}),
    ]
    assert rows(pdf.read(data, ["section", "heading"])) == [
        ("page 1", {"heading": "", "section": "zero"}),
        ("page 2", {"heading": "First", "section": "one"}),
        ("page 4", {"heading": "Second", "section": "three"}),
    ]
    assert rows(pdf.read(data, ["whole"])) == [("", {"whole": "zero\n\none\n\nthree"})]


def test_two_bookmarks_on_a_page_are_one_heading():
    data = files.pdf(["a", "b"], {0: "A"})
    assert rows(pdf.read(data.replace(b"(A)", b"(A) "), ["section"])) == [
        ("page 1", {"heading": "A", "section": "a\n\nb"})
    ]


def test_a_pdf_with_an_empty_password_is_read():
    assert rows(pdf.read(files.encrypted_pdf("x", ""), ())) == [("page 1", {"page": "x"})]


def test_what_no_pdf_reader_can_help_is_told():
    assert refused(pdf.read, files.encrypted_pdf("x", "secret")) == "FILE_ENCRYPTED"
    assert refused(pdf.read, files.pdf(["", ""])) == "NO_TEXT"
    assert refused(pdf.read, files.pdf(["a"]), "section") == "NO_SECTIONS"
    assert refused(pdf.read, b"%PDF-1.7\n") == "FILE_UNREADABLE"
    assert refused(pdf.read, files.pdf_with_a_loop()) == "FILE_UNREADABLE"
    assert refused(pdf.read, files.pdf(["a"] * 3)[:-300]) in {"FILE_UNREADABLE", "NO_TEXT"}


def test_more_pages_than_are_read(monkeypatch):
    monkeypatch.setattr(pdf.most, "PAGES", 2)
    assert refused(pdf.read, files.pdf(["a"] * 3)) == "TOO_MANY_PAGES"


def test_a_page_that_unfolds_without_end_is_named():
    (row,) = pdf.read(files.pdf_that_unfolds(2**26, 1), ()).rows
    assert (row.place, row.reason) == ("page 1", "PAGE_UNREADABLE")
    (row,) = pdf.read(files.pdf_that_unfolds(10, 5), ()).rows
    assert (row.place, row.reason) == ("page 1", "PAGE_UNREADABLE")


DOCX = files.docx(
    [
        ("Title", "Title"),
        ("Normal", "para é"),
        ("Normal", ""),
        ("Heading 1", "Empty"),
        ("Heading 2", "Table"),
        ("Normal", "more"),
        [["a", "b"], ["c", "d"]],
    ]
)


def test_a_docx_is_parted_at_its_headings_and_its_tables_are_lines():
    assert rows(docx.read(DOCX, ())) == [
        ("section 1", {"heading": "Title", "section": "para é"}),
        ("section 3", {"heading": "Table", "section": "more\n\na | b\nc | d"}),
    ]
    assert rows(docx.read(DOCX, ["whole"])) == [
        ("", {"whole": "Title\n\npara é\n\nEmpty\n\nTable\n\nmore\n\na | b\nc | d"})
    ]


def test_what_is_no_document_is_told():
    assert refused(docx.read, files.docx_of_laughs()) == "FILE_UNREADABLE"
    assert refused(docx.read, files.docx_of(b"<w:document")) == "FILE_UNREADABLE"
    assert refused(docx.read, files.archive({"word/document.xml": b"<a/>"})) == "FILE_UNREADABLE"
    assert refused(docx.read, DOCX[:-20]) == "FILE_UNREADABLE"
    assert refused(docx.read, files.docx_of(files.docx_body(""))) == "NO_TEXT"


def test_an_archive_that_unfolds_to_far_more_is_not_unpacked():
    body = files.docx_body("x")
    assert refused(docx.read, files.docx_of(body, {"word/media/a.xml": b"\x00" * 2**21})) == "ARCHIVE_TOO_LARGE"
    many = {f"word/media/{i}": b"" for i in range(2001)}
    assert refused(docx.read, files.docx_of(body, many)) == "ARCHIVE_TOO_LARGE"


def test_an_archive_that_lies_about_its_size_is_broken():
    data = files.docx_of(files.docx_body("x"), {"word/media/a.xml": b"\x00" * 2**21})
    told = (2**21).to_bytes(4, "little")
    assert data.count(told) == 2  # beside the entry, and in the directory
    assert refused(docx.read, data.replace(told, (100).to_bytes(4, "little"))) == "FILE_UNREADABLE"
