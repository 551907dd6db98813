"""Sealing of texts under keys of their payers': AES-256-GCM, bound to what stands beside them in clear.

What is bound can be read by everybody and changed by nobody: a box does not open in another place.  Knows no database,
and not where keys come from (`services.kit.payer_keys`).
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from openledger import canonical

SECRET_BYTES = 32
_NONCE = 12


class Unopened(ValueError):
    """The key does not open it: another key, or bytes that were changed."""


@dataclass(frozen=True)
class DataKey:
    """A payer's key: its name, 32 secret bytes, and whether its payer has taken it back."""

    name: str
    secret: bytes
    retired: bool = False

    def __repr__(self) -> str:
        """Without the secret."""
        return f"DataKey({self.name})"


def new_secret() -> bytes:
    """A secret for a key, at random."""
    return AESGCM.generate_key(256)


def bound(document: Mapping[str, Any], entry: str) -> bytes:
    """What is authenticated and not encrypted: what stands beside a box, and the place that it is for."""
    return canonical.dumps({"document": document, "entry": entry})


def close(secret: bytes, data: bytes, about: bytes) -> str:
    """A box, in Base64."""
    # At random: a payer would have to be given 2**32 answers before a nonce is likely to come twice.
    nonce = os.urandom(_NONCE)
    return b64encode(nonce + AESGCM(secret).encrypt(nonce, data, about)).decode()


def open_box(secret: bytes, box: str, about: bytes) -> bytes:
    """What was closed.  Raises `Unopened`."""
    try:
        sealed = b64decode(box)
        return AESGCM(secret).decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
    except (InvalidTag, ValueError):
        raise Unopened("the key does not open this: it is another one's, or bytes were changed") from None


def wrap(service_key: bytes, key: DataKey, payer: str) -> str:
    """A data key's secret as it may lie in the database: sealed with the service's own key."""
    return close(service_key, key.secret, bound({"data_key": key.name, "payer": payer}, ""))


def unwrap(service_key: bytes, name: str, payer: str, wrapped: str) -> DataKey:
    """The data key that was wrapped.  Raises `Unopened`."""
    return DataKey(name, open_box(service_key, wrapped, bound({"data_key": name, "payer": payer}, "")))
