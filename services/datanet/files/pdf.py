"""PDF: a page a row, or what is below a bookmark, or all of it.

Text alone; a scanned page has none.  How much a file may unfold to is bounded here, and how long it may take by whoever
calls.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from typing import Any

from services.datanet.files import limits as most
from services.datanet.files.found import Problem, Refused, Row, Source, chosen
from services.datanet.files.mapping import PAGE
from services.datanet.files.markdown import HEADING, SECTION, rows_of
from services.datanet.files.text import WHOLE

_PARTS = (PAGE, SECTION, HEADING, WHOLE)

_BOUNDS: dict[str, Any] = {
    **dict.fromkeys(
        (
            "maximum_declared_stream_length",
            "array_based_stream_maximum_output_length",
            "lzw_maximum_output_length",
            "run_length_maximum_output_length",
            "zlib_maximum_output_length",
            "brotli_maximum_output_length",
        ),
        most.PDF_STREAM_BYTES,
    ),
    "stream_decoding_work_maximum_length": 2 * most.PDF_STREAM_BYTES,
    "stream_filters_maximum_length": 4,
    "page_tree_maximum_entries": 4 * most.PAGES,
    "jbig2dec_binary": None,
}


def read(data: bytes, wanted: Collection[str]) -> Source:
    """Raises `Refused`: FILE_ENCRYPTED, FILE_UNREADABLE, TOO_MANY_PAGES; while rows are read NO_TEXT, NO_SECTIONS."""
    way = chosen(wanted, (PAGE, SECTION, WHOLE))
    reader = _opened(data)
    if way == SECTION:
        return Source(_PARTS, _sections(reader), "")
    return Source(_PARTS, _whole(reader) if way == WHOLE else _pages(reader), "")


def _opened(data: bytes) -> Any:
    import pypdf

    pypdf.overwrite_configuration(**_BOUNDS)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data), root_object_recovery_limit=1000, xref_stream_maximum_entries=500_000)
        locked = reader.is_encrypted and not reader.decrypt("")
        count = 0 if locked else len(reader.pages)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - of what anybody sent, it raises anything
        raise Refused("FILE_UNREADABLE", f"it cannot be read as a PDF ({type(error).__name__}): save it anew") from None
    if locked:
        raise Refused("FILE_ENCRYPTED", "the PDF opens with a password only: save it without one")
    if count > most.PAGES:
        raise Refused("TOO_MANY_PAGES", f"the PDF has {count} pages, at most {most.PAGES} are read: split it")
    return reader


def _pages(reader: Any) -> Iterator[Row | Problem]:
    some = False
    for number in range(len(reader.pages)):
        place = f"page {number + 1}"
        try:
            text = reader.pages[number].extract_text()
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - as above; the other pages may be good
            some = True
            yield Problem(place, "PAGE_UNREADABLE", f"the page cannot be read ({type(error).__name__})")
            continue
        if text.strip():
            some = True
            yield Row(place, {PAGE: text})
    if not some:
        raise Refused("NO_TEXT", "the PDF has no text: it was scanned; recognise its letters (OCR) first")


def _whole(reader: Any) -> Iterator[Row | Problem]:
    texts = []
    for found in _pages(reader):
        if isinstance(found, Problem):
            yield found
        else:
            texts.append(found.texts[PAGE])
    yield Row("", {WHOLE: "\n\n".join(texts)})


def _sections(reader: Any) -> Iterator[Row | Problem]:
    starts = _starts(reader)
    if not starts:
        raise Refused("NO_SECTIONS", f"the PDF has no bookmarks to part it by: map {PAGE!r} or {WHOLE!r} instead")
    place, heading, texts = "page 1", "", list[str]()
    for number, found in enumerate(_by_page(reader)):
        if number in starts:
            yield from rows_of([(place, heading, "\n\n".join(texts))])
            place, heading, texts = f"page {number + 1}", starts[number], []
        if isinstance(found, Problem):
            yield found
        elif found is not None:
            texts.append(found.texts[PAGE])
    yield from rows_of([(place, heading, "\n\n".join(texts))])


def _by_page(reader: Any) -> Iterator[Row | Problem | None]:
    """One for each page, also for those without text."""
    found = {row.place: row for row in _pages(reader)}
    return (found.get(f"page {number + 1}") for number in range(len(reader.pages)))


def _starts(reader: Any) -> dict[int, str]:
    """Titles of bookmarks by the page that they lead to, counted from 0."""
    starts: dict[int, str] = {}
    try:
        for bookmark in _flat(reader.outline):
            number = reader.get_destination_page_number(bookmark)
            if number is not None and number >= 0 and bookmark.title:
                title = str(bookmark.title).strip()
                starts[number] = f"{starts[number]} / {title}" if number in starts else title
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as above; bookmarks that lead nowhere are none
        return {}
    return starts


def _flat(outline: list[Any]) -> Iterator[Any]:
    for item in outline:
        if isinstance(item, list):
            yield from _flat(item)
        else:
            yield item
