"""JSON documents and their signatures, read a second time: by RFC 8259, RFC 8785, EIP-191 and docs/receipts.md.  Pure.

The ledger has `openledger.canonical` and `recover` for it.  Libraries alone are common.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import rfc8785
from eth_account import Account
from eth_account.messages import encode_defunct

MAX_DEPTH = 64
"""Objects and lists inside each other that a document may have."""
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1; a signature's s is in its lower half (EIP-2)."""
_SIGNATURE = re.compile(r"0x(?P<r>[0-9a-f]{64})(?P<s>[0-9a-f]{64})1[bc]\Z")


def parse(data: bytes) -> Any:
    """What JSON in UTF-8 says.  Raises `ValueError` for what is none, and where a name comes twice in an object."""
    text = data.decode()
    _check_depth(text)
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)


def loads(data: bytes) -> Any:
    """What canonical JSON says.  Raises `ValueError` for any other spelling: it would be another document."""
    document = parse(data)
    if dumps(document) != data:
        raise ValueError("the document is not in canonical form (RFC 8785)")
    return document


def dumps(document: Any) -> bytes:
    """The RFC 8785 bytes.  Raises `ValueError` for what has none."""
    return rfc8785.dumps(document)


def check_signature(document: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless its field `signature`, in its one spelling, is by `signer` over the other fields."""
    found = _SIGNATURE.match(document["signature"])
    if found is None or int(found["s"], 16) > _ORDER // 2:
        raise ValueError("the signature is not in its one spelling: r, s and v in lower-case hex, s low, v 27 or 28")
    signed = hashlib.sha256(dumps({key: document[key] for key in document if key != "signature"})).digest()
    try:
        signer = str(Account.recover_message(encode_defunct(signed), signature=found[0])).lower()
    except Exception as error:  # of many kinds; each says that nobody signed
        raise ValueError(f"the signature is nobody's: {error}") from error
    if signer != document["signer"]:
        raise ValueError(f"signed by {signer}, not by {document['signer']}: it was changed after it was signed")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice in an object")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _check_depth(text: str) -> None:
    """The parser recurses, and eth-account takes away the bound that Python has for that."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth, quoted, escaped = 0, False, False
    for character in text:
        if quoted:
            quoted, escaped = escaped or character != '"', not escaped and character == "\\"
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"the document is nested more than {MAX_DEPTH} deep")
        else:
            quoted, depth = character == '"', depth - (character in "]}")
