"""What a record says, as it lies on disk: salt and canonical bytes in one box, under a key of the record's own.

Once box or key is destroyed nobody opens the record's commitment any more, which stays in old trees.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from openledger.records import SALT_BYTES
from services.datanet.likeness import Sketch, Text, sketch
from services.datanet.model import Content
from services.datanet.vault import Sealed, Unopened, Vault

_VERSION, _WITH_SUGGESTION = b"\x01", b"\x02"
_SIZE = 4


def seal(
    vault: Vault, record: str, salt: bytes, canonical: bytes, suggested: Mapping[str, str] | None = None
) -> Sealed:
    """`record` is its id, for which alone the box opens again."""
    if suggested is None:
        return vault.seal(_VERSION + salt + canonical, _about(record))
    size, more = len(canonical).to_bytes(_SIZE, "big"), json.dumps(dict(suggested)).encode()
    return vault.seal(_WITH_SUGGESTION + salt + size + canonical + more, _about(record))


def unseal(vault: Vault, record: str, sealed: Sealed) -> Content:
    """Raises `Unopened`."""
    box = vault.open(sealed, _about(record))
    version, salt, canonical, suggested = box[:1], box[1 : 1 + SALT_BYTES], box[1 + SALT_BYTES :], None
    if version == _WITH_SUGGESTION:
        end = _SIZE + int.from_bytes(canonical[:_SIZE], "big")
        canonical, suggested = canonical[_SIZE:end], json.loads(canonical[end:])
    elif version != _VERSION:
        raise Unopened(f"record {record} was sealed by a later version of this service")
    document = json.loads(canonical)
    return Content(document["fields"], document["source"], salt, canonical, suggested)


def wrapped_again(vault: Vault, record: str, wrapped: bytes) -> bytes:
    """Its key, under a share as well.  Raises `Unopened`."""
    return vault.wrapped_again(wrapped, _about(record))


def fingerprint_token(vault: Vault, fingerprint: bytes) -> bytes:
    """What is kept of a fingerprint: whoever guesses a text cannot look it up without the vault's key."""
    return vault.token("fingerprint", fingerprint)


def liken(vault: Vault, record: str, wrapped: bytes, fields: Mapping[str, str]) -> Text:
    """What is kept of what a record's texts are like, under the record's key: it goes with the record.

    Raises `Unopened`.
    """
    return boxed(vault, text(vault, record, fields), wrapped)


def text(vault: Vault, record: str, fields: Mapping[str, str]) -> Text:
    """What a record's texts are like, to find others: not to be kept before it is `boxed`."""
    found = sketch(fields)
    return Text(record, feature_tokens(vault, found), found.to_bytes(), b"")


def boxed(vault: Vault, text: Text, wrapped: bytes) -> Text:
    """With its sketch sealed under the record's key.  Raises `Unopened`."""
    return replace(text, box=vault.seal_beside(wrapped, text.sketch, _about(text.record)))


def open_sketch(vault: Vault, record: str, wrapped: bytes, box: bytes) -> Sketch:
    """Of the box of `liken`.  Raises `Unopened`."""
    try:
        return Sketch.from_bytes(vault.open_beside(wrapped, box, _about(record)))
    except ValueError as error:
        raise Unopened(f"record {record}: {error}") from None


def feature_tokens(vault: Vault, sketch: Sketch) -> tuple[int, ...]:
    """By which records like it are found, 64 bits each; what texts share cannot be told without the vault's key."""
    tokens = (vault.token("likeness", feature)[:8] for feature in sketch.features())
    return tuple(int.from_bytes(token, "big", signed=True) for token in tokens)


def _about(record: str) -> bytes:
    return f"record {record}".encode()
