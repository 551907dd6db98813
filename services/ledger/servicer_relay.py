"""The RPCs by which the ledger sends what people signed, and pays the gas: requests in, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from openledger import names
from openledger.ledger.v1 import ledger_pb2
from openledger.money import parse_atomic
from openledger.spending import SignedClaim, Transfer
from services.kit import call
from services.kit.errors import invalid
from services.ledger.relay import Asked

if TYPE_CHECKING:
    from services.ledger.servicer import Parts


class RelayMethods:
    """Part of the servicer."""

    _parts: Parts

    async def RelayDeposit(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Deposit:
        account, amount = own(request.account), parse_atomic(request.amount)
        return await self._parts.relay.deposit(
            asked(request), account, amount, request.deadline, request.permit_signature
        )

    async def RelayAuthorisedDeposit(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Deposit:
        transfer = _transfer(request, self._parts.chain.contracts.escrow)
        return await self._parts.relay.authorised_deposit(asked(request), transfer, request.signature)

    async def RelayClaim(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Claim:
        account = address_in(request.account)
        # Paid to its own address, it is out of the reach of who has a key and no ether: theirs to ask for, or ours.
        if call.principal().address not in self._parts.config.operators:
            call.must_be(account)
        return await self._parts.relay.claim(asked(request), account)

    async def RelaySignedClaim(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Claim:
        signed = SignedClaim(
            address_in(request.account),
            address_in(request.to, "to"),
            parse_atomic(request.cumulative),
            parse_atomic(request.max_fee),
            request.deadline,
        )
        return await self._parts.relay.signed_claim(asked(request), signed, request.signature)

    async def RelayTransfer(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Transfer:
        transfer = _transfer(request, address_in(request.to, "to"))
        return await self._parts.relay.transfer(asked(request), transfer, request.signature)


def address_in(account: str, field: str = "account") -> str:
    """The address that an account's name holds.  Raises `Fault`."""
    try:
        return names.account_address(account)
    except ValueError as error:
        raise invalid("INVALID_FIELD", f"{field}: {error}", field) from None


def own(account: str) -> str:
    """The address of an account that must be the caller's."""
    found = address_in(account)
    call.must_be(found)
    return found


def asked(request: Any) -> Asked:
    """Who asked for what."""
    return Asked(call.principal().name, request, request.request_id)


def _transfer(request: Any, to: str) -> Transfer:
    """The caller's own."""
    account, amount = own(request.account), parse_atomic(request.amount)
    return Transfer(account, to, amount, request.valid_after, request.valid_before, request.nonce)
