"""Canonical JSON (RFC 8785) and its SHA-256: the one byte form in which things are signed, hashed and compared.

Knows nothing of what the documents mean.  Integers beyond 2**53 - 1 do not survive JSON readers, so documents carry
them as decimal strings; `dumps` refuses larger numbers instead of rounding them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any

import rfc8785

MAX_DEPTH = 64
"""Objects and lists inside each other; no document of ours comes near."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # one without an end, too: linear on any bytes
_BRACKET = re.compile(rb"[\[\]{}]")


def dumps(document: Any) -> bytes:
    """The RFC 8785 bytes of a JSON-like value.  Raises `rfc8785.CanonicalizationError` for what JSON cannot hold."""
    if type(document) is dict and _is_ascii(document) and _is_ascii(document.values()):
        # Of a settlement there may be a million entries, and on such texts any JSON writer agrees with RFC 8785.
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return rfc8785.dumps(document)


def _is_ascii(values: Collection[Any]) -> bool:
    """Whether all are texts in ASCII."""
    return set(map(type, values)) == {str} and "".join(values).isascii()


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
    document = parse_json(data)
    if dumps(document) != data:
        raise ValueError("the document is not in canonical form (RFC 8785)")
    return document


def parse_json(data: bytes) -> Any:
    """Parse untrusted JSON in UTF-8.  Raises `ValueError`, also for what is nested too deeply."""
    check_depth(data)
    return json.loads(data.decode())


def check_depth(data: bytes) -> None:
    """Return if JSON can be parsed without harm.  Raises `ValueError` for what is nested more than `MAX_DEPTH` deep.

    The parser recurses, and a library that we use (eth-account) raises Python's recursion limit so high that the
    machine's stack would end first: 100,000 brackets would kill the process.
    """
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        depth = 0
        for bracket in _BRACKET.finditer(_STRING.sub(b"", data)):
            depth += 1 if bracket[0] in b"[{" else -1
            if depth > MAX_DEPTH:
                raise ValueError(f"the document is nested more than {MAX_DEPTH} deep")
