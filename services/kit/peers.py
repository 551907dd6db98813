"""Calling the other services as a service, and telling who calls us."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from openledger.client import Client, Endpoints
from openledger.identity.v1 import identity_pb2
from services.kit.auth import Authenticator, service_token
from services.kit.config import ServiceConfig

_NOWHERE = "127.0.0.1:1"


def peer_client(config: ServiceConfig, *, tls_name: str = "", **endpoints: str) -> Client:
    """A client of the named services that calls as this one; what is not named cannot be reached.

    `tls_name`: what their certificates must be for, where their addresses do not say so.
    """
    addresses = dict.fromkeys(("datanet", "factory", "openlora", "attribution", "ledger"), _NOWHERE) | endpoints
    secret, made, token = config.service_secret.get_secret_value(), float("-inf"), ""

    def current_token() -> str:
        nonlocal made, token
        # Signed anew every half minute: far from expiry, and not once a call.
        if time.monotonic() - made > 30:
            made, token = time.monotonic(), service_token(secret, config.service)
        return token

    return Client(Endpoints(**addresses), token=current_token, tls=config.tls, tls_name=tls_name)


def authenticator(config: ServiceConfig, ledger: Client) -> Authenticator:
    """An authenticator that takes the issuer's keys from the ledger."""

    async def fetch_keys() -> str:
        reply = await ledger.call(ledger.identity.ListKeys, identity_pb2.ListKeysRequest(), 5)
        return str(reply.jwks)

    fetch: Callable[[], Awaitable[str]] = fetch_keys
    secret, *also = config.secrets
    return Authenticator(secret, fetch, *also)
