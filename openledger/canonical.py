"""Canonical JSON (RFC 8785) and its SHA-256: the one byte form in which things are signed, hashed and compared.

Knows nothing of what the documents mean.  Integers beyond 2**53 - 1 do not survive JSON readers, so documents carry
them as decimal strings; `dumps` refuses larger numbers instead of rounding them.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import rfc8785


def dumps(document: Any) -> bytes:
    """The RFC 8785 bytes of a JSON-like value.  Raises `rfc8785.CanonicalizationError` for what JSON cannot hold."""
    return rfc8785.dumps(document)


def digest(document: Any) -> str:
    """Hex SHA-256 of the canonical bytes."""
    return sha256(dumps(document))


def sha256(data: bytes) -> str:
    """Hex SHA-256 of bytes, as every published artifact is named."""
    return hashlib.sha256(data).hexdigest()


def loads(data: bytes) -> Any:
    """Parse JSON that must already be canonical.

    Raises `ValueError` when it is not: two spellings of one document would have two digests.
    """
    document = json.loads(data)
    if dumps(document) != data:
        raise ValueError("the document is not in canonical form (RFC 8785)")
    return document
