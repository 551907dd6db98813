"""openledger.identity.v1.IdentityService: transport and storage of sign-in; the rules are in `signin`.

Giving a message out stores nothing: what anybody may ask for without end must not fill a disk, nor a quota that others
need.  What is kept is which messages were used.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import grpc
from eth_account.messages import _hash_eip191_message, encode_defunct
from sqlalchemy import Connection

from openledger import names
from openledger.identity.v1 import identity_pb2, identity_pb2_grpc
from openledger.siwe import SignIn
from services.kit.database import Database
from services.ledger import contract_wallets, signin
from services.ledger.chain import Chain
from services.ledger.signin import Issuer, Site
from services.ledger.store import challenges
from services.ledger.wire import moment


class IdentityServicer(identity_pb2_grpc.IdentityServiceServicer):
    """Gives out challenges, takes signatures, issues sessions."""

    def __init__(
        self, database: Database, chain: Chain, issuer: Issuer, site: Site, *, challenge: int, session: int
    ) -> None:
        self._database, self._chain, self._issuer, self._site = database, chain, issuer, site
        self._challenge_seconds, self._session_seconds = challenge, session

    async def CreateChallenge(self, request: Any, context: grpc.aio.ServicerContext) -> identity_pb2.Challenge:
        now = datetime.now(UTC)
        message = signin.challenge(self._site, self._issuer, request.address, now, self._challenge_seconds)
        return identity_pb2.Challenge(message=message.text(), expire_time=moment(message.expires_at))

    async def CreateSession(self, request: Any, context: grpc.aio.ServicerContext) -> identity_pb2.Session:
        now, message = datetime.now(UTC), signin.read(self._site, request.message)
        signin.check(self._issuer, message, now)
        if not await asyncio.to_thread(self._signed, message, request.signature):
            raise signin.refused(f"the signature is not one of {message.address} over this message", "BAD_SIGNATURE")

        def use(connection: Connection) -> None:
            challenges.purge(connection, int(now.timestamp()))
            if not challenges.use(connection, message.nonce, int(message.expires_at.timestamp())):
                raise signin.refused("the message was used before", "NONCE_USED")

        await self._database.write(use)
        address = names.address(message.address)
        token = self._issuer.token(address, now, self._session_seconds)
        end = int(now.timestamp()) + self._session_seconds
        return identity_pb2.Session(token=token, expire_time=moment(end), account=f"accounts/{address}")

    async def ListKeys(self, request: Any, context: grpc.aio.ServicerContext) -> identity_pb2.ListKeysResponse:
        return identity_pb2.ListKeysResponse(jwks=self._issuer.jwks)

    def _signed(self, message: SignIn, signature: bytes) -> bool:
        """By the address's key, or taken by the contract wallet that the address is (ERC-1271)."""
        if signin.signed_by(message, signature):
            return True
        digest = bytes(_hash_eip191_message(encode_defunct(text=message.text())))
        return contract_wallets.accepts(self._chain, names.address(message.address), digest, signature)
