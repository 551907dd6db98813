"""Sign-in with Ethereum (EIP-4361) for a short-lived token.  Pure but for the key: no storage, no clock.

A message is given out with a nonce by which it is known again, and not kept; it must come back unchanged, signed by the
wallet that it names, before it ends, and once: that it was used is for the caller to keep.  The token is a JWT (EdDSA)
that anyone checks by the published keys.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_utils.address import to_checksum_address
from jwt.algorithms import OKPAlgorithm
from jwt.utils import base64url_encode

from openledger import canonical, names, siwe
from openledger.siwe import SignIn
from services.kit.auth import ACCOUNT_AUDIENCE, ISSUER
from services.kit.errors import Fault, unauthenticated

STATEMENT = "Sign in to OpenLedger. This costs nothing and moves no money."
_DRAWN = 32
"""Hex digits of the nonce that are random; the mark follows them."""


@dataclass(frozen=True)
class Site:
    """Where people sign in: what every message must say."""

    domain: str
    uri: str
    chain_id: int


def challenge(site: Site, issuer: Issuer, address: str, now: datetime, seconds: int) -> SignIn:
    """A message for the wallet to sign.  Its nonce: 32 random hex digits, then the issuer's mark on all of it."""
    issued = now.astimezone(UTC).replace(microsecond=0)
    message = SignIn(
        domain=site.domain,
        address=to_checksum_address(address),
        statement=STATEMENT,
        uri=site.uri,
        chain_id=site.chain_id,
        nonce=secrets.token_hex(_DRAWN // 2),
        issued_at=issued,
        expires_at=issued + timedelta(seconds=seconds),
    )
    return replace(message, nonce=message.nonce + issuer.mark(message.text()))


def read(site: Site, text: str) -> SignIn:
    """A message that came back.  Raises `Fault` unless it is one for this site."""
    try:
        message = siwe.parse(text)
    except ValueError as error:
        raise refused(f"the message cannot be read: {error}") from None
    if (message.domain, message.uri, message.chain_id) != (site.domain, site.uri, site.chain_id):
        raise refused(f"the message is for {message.domain} on chain {message.chain_id}, not for {site.domain} here")
    return message


def check(issuer: Issuer, message: SignIn, now: datetime) -> None:
    """Raises `Fault` unless the issuer gave out this very message and it has not ended."""
    drawn, mark = message.nonce[:_DRAWN], message.nonce[_DRAWN:]
    if not hmac.compare_digest(mark, issuer.mark(replace(message, nonce=drawn).text())):
        raise refused("the message was not given out here, or was changed afterwards")
    if now >= message.expires_at:
        raise refused("the message has ended", "CHALLENGE_EXPIRED")


def signed_by(message: SignIn, signature: bytes) -> bool:
    """Whether the key of the address in the message signed it."""
    try:
        return siwe.recover(message.text(), signature) == names.address(message.address)
    except ValueError:
        return False


def refused(what: str, reason: str = "BAD_SIGN_IN") -> Fault:
    """A sign-in that does not pass."""
    return unauthenticated(reason, f"{what}; ask for a new challenge and sign it with the wallet that it names")


class Issuer:
    """Signs sessions, and knows its messages again.  Its key's name is the key's thumbprint (RFC 7638).

    Replicas that have the same key are one issuer.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._marking = hmac.digest(key.private_bytes_raw(), b"openledger sign-in message", "sha256")
        public: dict[str, Any] = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        required = {name: public[name] for name in ("crv", "kty", "x")}
        self._kid = base64url_encode(sha256(canonical.dumps(required)).digest()).decode()
        self.jwks = json.dumps({"keys": [required | {"kid": self._kid, "alg": "EdDSA", "use": "sig"}]})
        """The JSON Web Key Set by which anyone checks a token."""

    def mark(self, text: str) -> str:
        """What nobody else can put on a text: 32 hex digits of its HMAC-SHA-256."""
        return hmac.new(self._marking, text.encode(), sha256).hexdigest()[:32]

    def token(self, address: str, now: datetime, seconds: int) -> str:
        """A session of that lower-case address."""
        issued = int(now.timestamp())
        claims = {"iss": ISSUER, "aud": ACCOUNT_AUDIENCE, "sub": address, "iat": issued, "exp": issued + seconds}
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": self._kid})
