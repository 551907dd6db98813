"""Keeps what records say unreadable on disk, and makes it possible to destroy it.

Every record's content is sealed by AES-256-GCM under a key of its own; that key lies in the database, wrapped by the
service's.  Whoever has the database alone reads nothing; once a record's key is gone, nobody reads the record, whatever
copies of its ciphertext there are.  What the database must find again by its content, it finds by keyed hashes.

Knows no database, no record, and not where the service's secret comes from (`vault_key.py`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SECRET_BYTES = 32
_NONCE = 12
# A record's key seals one content and no second one, so its nonce need not be told apart from any other.
_ONLY_ONCE = bytes(_NONCE)


class Unopened(ValueError):
    """The key does not open it: another key, another record's, or bytes that were changed."""


@dataclass(frozen=True)
class Sealed:
    """A content that only the vault opens, and its key, wrapped.  Either without the other says nothing."""

    ciphertext: bytes
    wrapped: bytes


class Vault:
    """Seals and opens under a service's secret of 32 bytes.  Raises `ValueError` for another length."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a vault's secret has {SECRET_BYTES} bytes, not {len(secret)}")
        self._wrapping = AESGCM(_derived(secret, "wrap"))
        self._token_key = _derived(secret, "token")

    def seal(self, content: bytes, about: bytes) -> Sealed:
        """`about` says whose content it is, such as a record's name; it is not kept, and must be said to open it."""
        key, nonce = AESGCM.generate_key(256), os.urandom(_NONCE)
        return Sealed(
            AESGCM(key).encrypt(_ONLY_ONCE, content, about),
            nonce + self._wrapping.encrypt(nonce, key, about),
        )

    def open(self, sealed: Sealed, about: bytes) -> bytes:
        """The content.  Raises `Unopened`."""
        try:
            key = self._wrapping.decrypt(sealed.wrapped[:_NONCE], sealed.wrapped[_NONCE:], about)
            return AESGCM(key).decrypt(_ONLY_ONCE, sealed.ciphertext, about)
        except (InvalidTag, ValueError):
            raise Unopened("the vault does not open this: it is another one's, or bytes were changed") from None

    def token(self, kind: str, data: bytes) -> bytes:
        """A hash of 32 bytes by which equal data of one kind is found again, and which nobody else can compute."""
        return hmac.digest(self._token_key, kind.encode() + b"\x00" + data, hashlib.sha256)


def _derived(secret: bytes, use: str) -> bytes:
    return hmac.digest(secret, b"openledger.vault.v1 " + use.encode(), hashlib.sha256)
