"""How much of a file is looked at.  The process that looks has bounds of its own beside these."""

from __future__ import annotations

from dataclasses import dataclass

FILE_BYTES = 64 * 2**20
LINE_BYTES = 2**20
COLUMNS = 1000
PAGES = 5000
ARCHIVE_ENTRIES = 2000
ARCHIVE_BYTES = 256 * 2**20
ARCHIVE_RATIO = 200
"""Unpacked bytes of an archive's entry by packed ones, for entries above a megabyte; office files come to about 20."""
PDF_STREAM_BYTES = 32 * 2**20
PIXELS = 50_000_000
IMAGE_SIDE = 30_000
PROBLEMS = 1000


@dataclass(frozen=True)
class Limits:
    """What a service may set.  `record_bytes`: of a record's texts in UTF-8; `text_bytes`: of all of them together."""

    record_bytes: int = 256 * 2**10
    text_bytes: int = 64 * 2**20
    records: int = 50_000
