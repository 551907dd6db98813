"""For tests: any service in-process on a free port, databases of both kinds, and callers with sessions.

Nothing here is imported by a running service.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from openledger.client import Client, Endpoints, Wallet
from services.kit.auth import ACCOUNT_AUDIENCE, ISSUER, service_token
from services.kit.server import Assembly, running

SECRET = "a secret that only tests share, 32+"  # noqa: S105
NOWHERE = "127.0.0.1:1"


def settings(service: str, folder: Path, **more: Any) -> dict[str, Any]:
    """Settings of a service for a test: its files under `folder`, everything on loopback."""
    return {
        "data_dir": folder / service,
        "artifacts_dir": folder / "artifacts",
        "service_secret": SECRET,
        "listen": "127.0.0.1:0",
        "drain_seconds": 0,
        **more,
    }


@asynccontextmanager
async def served(assembly: Assembly) -> AsyncIterator[str]:
    """The service, serving; gives its host:port."""
    async with running(assembly) as port:
        yield f"127.0.0.1:{port}"


def endpoints(**known: str) -> Endpoints:
    """Endpoints in which what is not named cannot be reached."""
    return Endpoints(**(dict.fromkeys(("datanet", "factory", "openlora", "attribution", "ledger"), NOWHERE) | known))


def as_service(name: str, **known: str) -> Client:
    """A client that calls as a service."""
    return Client(endpoints(**known), token=lambda: service_token(SECRET, name))


def as_wallet(wallet: Wallet, **known: str) -> Client:
    """A client that signs in with a wallet."""
    return Client(endpoints(**known), wallet)


class TestIssuer:
    """Issues sessions as the ledger's identity service does, for tests of services that only check them."""

    __test__ = False  # not a test class, whatever its name says to pytest

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self.jwks = json.dumps({"keys": [public | {"kid": "test", "alg": "EdDSA", "use": "sig"}]})

    def token(self, wallet: Wallet, seconds: int = 900) -> str:
        """A session token of the wallet; already over when `seconds` is negative."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": ACCOUNT_AUDIENCE, "sub": wallet.address, "iat": now, "exp": now + seconds}
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": "test"})

    def client(self, wallet: Wallet, **known: str) -> Client:
        """A client with the wallet's session, without any sign-in."""
        return Client(endpoints(**known), token=lambda: self.token(wallet))
