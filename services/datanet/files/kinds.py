"""What a file is, by its first bytes.  Its name's ending only decides between kinds of text."""

from __future__ import annotations

import codecs
from enum import StrEnum

from openledger import canonical
from services.datanet.files.found import Refused
from services.datanet.files.labels import extension


class Kind(StrEnum):
    """Kinds that are read, by media type."""

    JSONL = "application/jsonl"
    CSV = "text/csv"
    MARKDOWN = "text/markdown"
    TEXT = "text/plain"
    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"


IMAGES = frozenset({Kind.JPEG, Kind.PNG, Kind.WEBP})
_TEXTS = {
    "jsonl": Kind.JSONL, "ndjson": Kind.JSONL, "json": Kind.JSONL, "csv": Kind.CSV, "tsv": Kind.CSV, "tab": Kind.CSV,
    "md": Kind.MARKDOWN, "markdown": Kind.MARKDOWN, "txt": Kind.TEXT, "text": Kind.TEXT,
}  # fmt: skip
_OTHERS = {
    "pdf": Kind.PDF, "docx": Kind.DOCX, "jpg": Kind.JPEG, "jpeg": Kind.JPEG, "jpe": Kind.JPEG, "png": Kind.PNG,
    "webp": Kind.WEBP,
}  # fmt: skip
_MAGIC = (
    (b"%PDF-", Kind.PDF),
    (b"\xff\xd8\xff", Kind.JPEG),
    (b"\x89PNG\r\n\x1a\n", Kind.PNG),
    (b"PK\x03\x04", "a ZIP archive: unpack it, and give the files in it"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "packed by gzip: unpack it first"),
    (b"BZh", "packed by bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "packed by xz: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it, and give the files in it"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it, and give the files in it"),
    (b"\xd0\xcf\x11\xe0", "an office file of the old kind: save it as DOCX or PDF"),
    (b"GIF8", "a GIF image: save it as PNG"),
    (b"II*\x00", "a TIFF image: save it as PNG or JPEG"),
    (b"MM\x00*", "a TIFF image: save it as PNG or JPEG"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"SQLite format 3\x00", "a database: export it as CSV or JSONL"),
    (b"PAR1", "a Parquet file: export it as CSV or JSONL"),
)
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def sniff(data: bytes, name: str) -> Kind:
    """The kind of a file.  name: as it is shown.

    Raises `Refused`: FILE_EMPTY; WRONG_TYPE when the name says another kind than the bytes; TYPE_NOT_TAKEN.
    """
    if not data:
        raise Refused("FILE_EMPTY", "the file has no bytes")
    ending = extension(name)
    found = _by_magic(data)
    if isinstance(found, str) and not isinstance(found, Kind):
        raise Refused("TYPE_NOT_TAKEN", f"the file is {found}")
    said = _TEXTS.get(ending) or _OTHERS.get(ending)
    if found is not None:
        if said not in {None, found}:
            raise Refused(
                "WRONG_TYPE", f"the name ends with .{ending}, but the file is {found}: give it its right name"
            )
        return found
    if ending in _OTHERS:
        raise Refused("WRONG_TYPE", f"the name ends with .{ending}, but the file is no such file")
    if b"\x00" in data[:4096] and not data.startswith(_BOMS):
        raise Refused("TYPE_NOT_TAKEN", "the file is no text and nothing else that is read here; see the list of kinds")
    return _TEXTS.get(ending) or (Kind.JSONL if _begins_with_object(data) else Kind.TEXT)


def _by_magic(data: bytes) -> Kind | str | None:
    for magic, what in _MAGIC:
        if data.startswith(magic):
            # An office file names its parts in clear, in the archive's directory at its end.
            return Kind.DOCX if magic == b"PK\x03\x04" and b"word/document.xml" in data[-(2**20) :] else what
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Kind.WEBP
    if data[4:8] == b"ftyp":
        return "a film, or an image of a kind that is not read: save it as JPEG, PNG or WebP"
    return None


def _begins_with_object(data: bytes) -> bool:
    line = data[:65536].lstrip(codecs.BOM_UTF8).split(b"\n", 1)[0].strip()
    try:
        return line.startswith(b"{") and isinstance(canonical.parse_json(line), dict)
    except ValueError:
        return False
