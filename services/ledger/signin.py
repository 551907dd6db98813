"""Sign-in with Ethereum (EIP-4361) for a short-lived token.  Pure but for the key: no storage, no clock.

A message is given out with a nonce that the server keeps; it must come back unchanged, signed by the wallet that it
names, before it ends, and once.  The token is a JWT (EdDSA) that anyone checks by the published keys.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
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
NONCE_BYTES = 16


@dataclass(frozen=True)
class Site:
    """Where people sign in: what every message must say."""

    domain: str
    uri: str
    chain_id: int


def challenge(site: Site, address: str, now: datetime, seconds: int) -> SignIn:
    """A message for the wallet to sign, with a nonce of its own."""
    issued = now.astimezone(UTC).replace(microsecond=0)
    return SignIn(
        domain=site.domain,
        address=to_checksum_address(address),
        statement=STATEMENT,
        uri=site.uri,
        chain_id=site.chain_id,
        nonce=secrets.token_hex(NONCE_BYTES),
        issued_at=issued,
        expires_at=issued + timedelta(seconds=seconds),
    )


def read(site: Site, text: str) -> SignIn:
    """A message that came back.  Raises `Fault` unless it is one for this site."""
    try:
        message = siwe.parse(text)
    except ValueError as error:
        raise refused(f"the message cannot be read: {error}") from None
    if (message.domain, message.uri, message.chain_id) != (site.domain, site.uri, site.chain_id):
        raise refused(f"the message is for {message.domain} on chain {message.chain_id}, not for {site.domain} here")
    return message


def check(message: SignIn, given_out: tuple[str, int] | None, now: datetime) -> None:
    """Raises `Fault` unless `given_out` (text, end in Unix seconds) is this very message and it has not ended."""
    if given_out is None:
        raise refused("the message was used before, has ended, or was never given out", "NONCE_USED")
    text, expires = given_out
    if text != message.text():
        raise refused("the message was changed after it was given out")
    if now.timestamp() >= expires:
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
    """Signs sessions.  Its key's name is the key's thumbprint (RFC 7638)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        public: dict[str, Any] = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        required = {name: public[name] for name in ("crv", "kty", "x")}
        self._kid = base64url_encode(sha256(canonical.dumps(required)).digest()).decode()
        self.jwks = json.dumps({"keys": [required | {"kid": self._kid, "alg": "EdDSA", "use": "sig"}]})
        """The JSON Web Key Set by which anyone checks a token."""

    def token(self, address: str, now: datetime, seconds: int) -> str:
        """A session of that lower-case address."""
        issued = int(now.timestamp())
        claims = {"iss": ISSUER, "aud": ACCOUNT_AUDIENCE, "sub": address, "iat": issued, "exp": issued + seconds}
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": self._kid})
