"""A record before it is one: what a file was taken apart into, or what a contributor sent, not yet judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Image:
    """What can be said of an image without showing it.  SHA-256 in lower-case hex.

    `clean_sha256` is of the copy without metadata, which is what others are given.
    """

    media_type: str
    width: int
    height: int
    sha256: str
    clean_sha256: str


@dataclass(frozen=True)
class Draft:
    """`index`: its place in its upload or file, from 0.  `fields`: texts by field id.  `salt`: empty, or 32 bytes."""

    index: int
    fields: Mapping[str, str]
    source: str = ""
    salt: bytes = b""
    image: Image | None = None
