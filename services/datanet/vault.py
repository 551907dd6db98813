"""Keeps what records say unreadable on disk, and makes it possible to destroy it.

Every record's content is sealed by AES-256-GCM under a key of its own; that key lies in the database, wrapped under the
service's secret and a share of the record's own (`shares.py`).  Whoever has the database alone reads nothing; once a
record's share is gone, nobody reads the record, whatever copies there are of its ciphertext and of its wrapped key.
What the database must find again by its content, it finds by keyed hashes.

Knows no database, no record, and not where the service's secret comes from (`vault_key.py`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.datanet.shares import PLACE_BYTES, ShareGone, Shares

SECRET_BYTES = 32
_NONCE = 12
# A record's key seals one content and no second one, so its nonce need not be told apart from any other.
_ONLY_ONCE = bytes(_NONCE)
WRAPPED_BYTES = _NONCE + 32 + 16
"""Of a key that was wrapped under the secret alone; one with a share has its place before them."""


class Unopened(ValueError):
    """The key does not open it: another key, another record's, or bytes that were changed."""


@dataclass(frozen=True)
class Sealed:
    """A content that only the vault opens, and its key, wrapped.  Either without the other says nothing."""

    ciphertext: bytes
    wrapped: bytes


class Vault:
    """Seals and opens under a service's secret of 32 bytes, and shares.  Raises `ValueError` for another length."""

    def __init__(self, secret: bytes, shares: Shares) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a vault's secret has {SECRET_BYTES} bytes, not {len(secret)}")
        self._secret, self._shares = secret, shares
        self._token_key = _derived(secret, "token")

    def seal(self, content: bytes, about: bytes) -> Sealed:
        """`about` says whose content it is, such as a record's name; it is not kept, and must be said to open it."""
        key = AESGCM.generate_key(256)
        return Sealed(AESGCM(key).encrypt(_ONLY_ONCE, content, about), self._wrap(key, about))

    def open(self, sealed: Sealed, about: bytes) -> bytes:
        """The content.  Raises `Unopened`."""
        with _opening():
            return AESGCM(self._unwrap(sealed.wrapped, about)).decrypt(_ONLY_ONCE, sealed.ciphertext, about)

    def seal_beside(self, wrapped: bytes, content: bytes, about: bytes) -> bytes:
        """Seal something else that belongs to a content under the content's key: both go together."""
        nonce = os.urandom(_NONCE)
        with _opening():
            return nonce + AESGCM(self._unwrap(wrapped, about)).encrypt(nonce, content, about)

    def open_beside(self, wrapped: bytes, box: bytes, about: bytes) -> bytes:
        """Of `seal_beside`.  Raises `Unopened`, as that does."""
        with _opening():
            return AESGCM(self._unwrap(wrapped, about)).decrypt(box[:_NONCE], box[_NONCE:], about)

    def wrapped_again(self, wrapped: bytes, about: bytes) -> bytes:
        """A key that was wrapped under the secret alone, under a share as well.  Raises `Unopened`."""
        try:
            return self._wrap(self._unwrap(wrapped, about), about)
        except (InvalidTag, ValueError):
            raise Unopened("the vault does not open this key: it is another one's, or bytes were changed") from None

    def destroy(self, at: bytes) -> None:
        """What was wrapped with the share there (see `place`) opens for nobody any more.  Again does no harm.

        Raises `OSError`.
        """
        if at:
            self._shares.destroy(at)

    def has_share(self, at: bytes) -> bool:
        """Whether the share there (see `place`) is still, or again, to be read.  Raises `OSError`."""
        return bool(at) and self._shares.has(at)

    def token(self, kind: str, data: bytes) -> bytes:
        """A hash of 32 bytes by which equal data of one kind is found again, and which nobody else can compute."""
        return hmac.digest(self._token_key, kind.encode() + b"\x00" + data, hashlib.sha256)

    def _wrap(self, key: bytes, about: bytes) -> bytes:
        at, share = self._shares.take()
        nonce = os.urandom(_NONCE)
        return at + nonce + self._wrapping(share).encrypt(nonce, key, at + about)

    def _unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Raises `InvalidTag`, `ValueError`, `ShareGone`."""
        at = place(wrapped)
        share = self._shares.get(at) if at else b""
        nonce, box = wrapped[len(at) : len(at) + _NONCE], wrapped[len(at) + _NONCE :]
        return self._wrapping(share).decrypt(nonce, box, at + about)

    def _wrapping(self, share: bytes) -> AESGCM:
        return AESGCM(_derived(self._secret, "wrap", share))


@contextmanager
def _opening() -> Iterator[None]:
    """What fails inside raises `Unopened`."""
    try:
        yield
    except (InvalidTag, ValueError):
        raise Unopened("the vault does not open this: it is another one's, or bytes were changed") from None
    except ShareGone as error:
        raise Unopened(f"nobody opens this any more: {error}") from None


def place(wrapped: bytes) -> bytes:
    """Where the share of a wrapped key is; empty of one that has none."""
    return wrapped[:PLACE_BYTES] if len(wrapped) > WRAPPED_BYTES else b""


def _derived(secret: bytes, use: str, share: bytes = b"") -> bytes:
    return hmac.digest(secret, b"openledger.vault.v1 " + use.encode() + share, hashlib.sha256)
