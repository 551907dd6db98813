"""Who is calling, and who may call what.  Every method states its callers; what states nothing is open to nobody.

Accounts come with a JWT (EdDSA) that the ledger's identity service issued against a wallet's signature; services come
with a short JWT (HS256) over the installation's shared secret.  Does not know how accounts sign in.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import jwt

from services.kit.errors import denied, unauthenticated, unavailable

ISSUER = "openledger"
ACCOUNT_AUDIENCE, SERVICE_AUDIENCE = "accounts", "services"
_SERVICE_TOKEN_SECONDS = 120
_KEYS_SECONDS, _REFETCH_SECONDS = 300, 5
# A token that never ends is none: every claim that bounds one must be there.
_CLAIMS: dict[str, Any] = {"issuer": ISSUER, "options": {"require": ["iss", "aud", "sub", "exp"]}}


@dataclass(frozen=True)
class Principal:
    """A caller: an account by its lower-case address, a service by its name, or nobody."""

    address: str = ""
    service: str = ""

    @property
    def name(self) -> str:
        """For logs, quotas and idempotency."""
        return f"accounts/{self.address}" if self.address else f"services/{self.service}" if self.service else "anyone"


ANYONE = Principal()


@dataclass(frozen=True)
class Access:
    """Who may call a method."""

    anyone: bool = False
    accounts: bool = False
    services: frozenset[str] = field(default_factory=frozenset)

    def check(self, principal: Principal) -> None:
        """Raises `Fault` unless the caller is one of these."""
        if self.anyone or (self.accounts and principal.address) or principal.service in self.services:
            return
        if principal == ANYONE:
            raise unauthenticated(
                "SIGN_IN", "this needs a caller: sign in and send the token as 'authorization: Bearer ...'"
            )
        raise denied("NOT_FOR_THIS_CALLER", f"this is not for {principal.name}", caller=principal.name)


PUBLIC = Access(anyone=True)
"""Open to all, and nobody is asked who it is."""
OPEN = Access(anyone=True, accounts=True)
"""Open to all; who signs in is known, and may see more."""
ACCOUNTS = Access(accounts=True)


def services(*names: str, accounts: bool = False) -> Access:
    """Access for the named services, and for accounts too when asked."""
    return Access(accounts=accounts, services=frozenset(names))


def service_token(secret: str, service: str) -> str:
    """A token by which one service calls another.

    Lasts two minutes: long enough for clocks that differ a little, short enough not to be worth stealing.
    """
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": SERVICE_AUDIENCE, "sub": service, "iat": now, "exp": now + _SERVICE_TOKEN_SECONDS}
    return jwt.encode(claims, secret, algorithm="HS256")


class Authenticator:
    """Turns a token into a principal.  `fetch_keys` gives the issuer's JSON Web Key Set; keys are cached.

    Services are known by any of the secrets: more than one is for the time in which the secret is changed.
    """

    def __init__(self, secret: str, fetch_keys: Callable[[], Awaitable[str]], *also: str) -> None:
        self._secrets = (secret, *also)
        if any(len(each) < 32 for each in self._secrets):
            raise ValueError("the service secret must have at least 32 characters")
        self._fetch = fetch_keys
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self._unreachable = ""
        self._fetching: asyncio.Task[None] | None = None

    async def authenticate(self, authorization: str) -> Principal:
        """The caller behind an `authorization` value; `ANYONE` when there is none.  Raises `Fault` for a bad one."""
        if not authorization:
            return ANYONE
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated("BAD_TOKEN", "the authorization must read 'Bearer <token>'")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") == "HS256":
                return Principal(service=str(self._of_a_service(token)["sub"]))
            key = await self._key(str(header.get("kid", "")))
            claims = jwt.decode(token, key, algorithms=["EdDSA"], audience=ACCOUNT_AUDIENCE, **_CLAIMS)
            return Principal(address=str(claims["sub"]))
        except jwt.ExpiredSignatureError:
            raise unauthenticated("TOKEN_EXPIRED", "the session is over: sign in again") from None
        except (jwt.InvalidTokenError, KeyError) as error:
            raise unauthenticated("BAD_TOKEN", f"the token is not valid: {error}") from None

    def _of_a_service(self, token: str) -> Any:
        for secret in self._secrets[1:]:
            with suppress(jwt.InvalidSignatureError):
                return jwt.decode(token, secret, algorithms=["HS256"], audience=SERVICE_AUDIENCE, **_CLAIMS)
        return jwt.decode(token, self._secrets[0], algorithms=["HS256"], audience=SERVICE_AUDIENCE, **_CLAIMS)

    async def _key(self, kid: str) -> jwt.PyJWK:
        if self._fetching is None and self._fetch_due(kid):
            self._tried = time.monotonic()
            # Its own task: one fetch for callers at once, and whoever leaves has not the next one fetch again.
            self._fetching = asyncio.create_task(self._refetch())
            await asyncio.shield(self._fetching)
        elif self._fetching is not None and kid not in self._keys:
            await asyncio.shield(self._fetching)
        if kid not in self._keys and self._unreachable:
            # Not the token's fault, as far as anybody can tell now.
            raise unavailable(
                "IDENTITY_UNAVAILABLE",
                f"the session cannot be checked, its issuer does not answer: {self._unreachable}",
                retry_after=_REFETCH_SECONDS,
            )
        if kid not in self._keys:
            raise unauthenticated("BAD_TOKEN", "the token was not issued here, or its key was retired: sign in again")
        return self._keys[kid]

    def _fetch_due(self, kid: str) -> bool:
        now = time.monotonic()
        wanted = kid not in self._keys or now - self._fetched > _KEYS_SECONDS
        return wanted and now - self._tried > _REFETCH_SECONDS

    async def _refetch(self) -> None:
        try:
            keys = {str(key["kid"]): jwt.PyJWK(key) for key in json.loads(await self._fetch())["keys"]}
        except Exception as error:  # noqa: BLE001 - whatever kept the issuer from answering
            self._unreachable = str(error)
        else:
            self._keys, self._fetched, self._unreachable = keys, self._tried, ""
        finally:
            self._fetching = None
