"""DOCX: a section a row, from a heading to the next one; a table's rows are lines of it.

The archive is looked through before anything is unpacked.  Pictures, notes, comments and tracked changes are not read.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Collection, Iterator
from typing import Any

from services.datanet.files import limits as most
from services.datanet.files.found import Problem, Refused, Row, Source, chosen
from services.datanet.files.markdown import HEADING, SECTION, rows_of
from services.datanet.files.text import WHOLE

_READ_AHEAD = 2**20


def read(data: bytes, wanted: Collection[str]) -> Source:
    """Raises `Refused`: ARCHIVE_TOO_LARGE, FILE_ENCRYPTED, FILE_UNREADABLE; NO_TEXT while rows are read."""
    way = chosen(wanted, (SECTION, WHOLE))
    _look_through(data)
    import docx

    try:
        document = docx.Document(io.BytesIO(data))
        found = list(_sections(document))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - of what anybody sent, it raises anything
        raise Refused(
            "FILE_UNREADABLE", f"it cannot be read as a DOCX ({type(error).__name__}): save it anew"
        ) from None
    if not any(text.strip() for _, _, text in found):
        raise Refused("NO_TEXT", "the document has no text but headings, if any")
    return Source((HEADING, SECTION, WHOLE), _whole(found) if way == WHOLE else rows_of(found), "")


def _look_through(data: bytes) -> None:
    """What an archive says that it unfolds to is what its reader is held to: more is an error of its checksum."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_size(entries)
            for entry in entries:
                if entry.filename.endswith((".xml", ".rels")):
                    _check_declarations(archive, entry)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError, zlib.error) as error:
        raise Refused("FILE_UNREADABLE", f"its archive is broken ({type(error).__name__}): save it anew") from None


def _check_size(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > most.ARCHIVE_ENTRIES:
        message = f"the file holds {len(entries)} parts, at most {most.ARCHIVE_ENTRIES} are looked at"
        raise Refused("ARCHIVE_TOO_LARGE", message)
    if any(entry.flag_bits & 1 for entry in entries):
        raise Refused("FILE_ENCRYPTED", "the document opens with a password only: save it without one")
    whole = sum(entry.file_size for entry in entries)
    steep = (e for e in entries if e.file_size > 2**20 and e.file_size > most.ARCHIVE_RATIO * max(e.compress_size, 1))
    if whole > most.ARCHIVE_BYTES or next(steep, None):
        message = f"the file unfolds to {whole} bytes from far fewer: no document does that; save it anew"
        raise Refused("ARCHIVE_TOO_LARGE", message)


def _check_declarations(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Office files declare no entities of their own; whoever does wants them to multiply."""
    with archive.open(entry) as part:
        before = b""
        while piece := part.read(_READ_AHEAD):
            if b"<!DOCTYPE" in before + piece or b"<!ENTITY" in before + piece:
                raise Refused("FILE_UNREADABLE", "it declares entities of its own, which no DOCX does: save it anew")
            before = piece[-16:]


def _sections(document: Any) -> Iterator[tuple[str, str, str]]:
    from docx.table import Table

    heading, body, number = "", list[str](), 1
    for block in document.iter_inner_content():
        if isinstance(block, Table):
            body.extend(_table_lines(block))
        elif _is_heading(block) and block.text.strip():
            if heading or "".join(body).strip():
                yield f"section {number}", heading, "\n\n".join(body)
                number += 1
            heading, body = block.text.strip(), []
        elif block.text.strip():
            body.append(block.text)
    yield f"section {number}", heading, "\n\n".join(body)


def _table_lines(table: Any) -> Iterator[str]:
    from docx.table import _Cell

    lines = []
    for row in table.rows:
        # Of the row's own cells, not of the grid, in which a merged cell stands many times.
        cells = (" ".join(_Cell(cell, table).text.split()) for cell in row._tr.tc_lst)
        lines.append(" | ".join(cells))
    yield "\n".join(lines)


def _is_heading(paragraph: Any) -> bool:
    style = paragraph.style
    return style is not None and bool(style.name) and (style.name.startswith("Heading") or style.name == "Title")


def _whole(found: list[tuple[str, str, str]]) -> list[Row | Problem]:
    texts = [part for _, heading, text in found for part in (heading, text) if part.strip()]
    return [Row("", {WHOLE: "\n\n".join(texts)})]
