"""The port through which payers' money is set aside: what OpenLoRA needs of the ledger, and the ledger over gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import grpc

from openledger.client import ApiError, Client
from openledger.ledger.v1 import ledger_pb2
from openledger.money import MAX_AMOUNT, parse_atomic
from services.kit.errors import Fault, unavailable

_DEADLINE = 5.0
_SAID_NO = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
_IS_OVER = frozenset({grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND})


class LeaseRefused(Fault):
    """The ledger said no, for certain: it holds nothing for this request.  Says to the payer what the ledger said."""

    @property
    def spendable(self) -> int:
        """What the payer could spend at most, in atomic units, as far as the ledger said."""
        try:
            return parse_atomic(self.metadata["spendable"])
        except (KeyError, ValueError):
            return MAX_AMOUNT


class LeaseOver(Exception):
    """The ledger has ended this lease already; there is nothing to give back."""


@dataclass(frozen=True)
class Grant:
    """A lease as the ledger gave it.  `amount` in atomic units, `expires` in Unix seconds."""

    name: str
    amount: int
    expires: float


class LeaseSource(Protocol):
    """Where leases come from.  Whatever raises `Fault` other than `LeaseRefused` may or may not have happened."""

    async def acquire(self, account: str, amount: int, request_id: str) -> Grant:
        """Set aside; the same request id again gives the same lease.  Raises `LeaseRefused` or `Fault`."""
        ...

    async def release(self, name: str, used: int, request_id: str) -> None:
        """Give back all but `used`.  Raises `LeaseOver` or `Fault`."""
        ...


class LedgerLeases:
    """The ledger service."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def acquire(self, account: str, amount: int, request_id: str) -> Grant:
        request = ledger_pb2.AcquireLeaseRequest(account=account, amount=str(amount), request_id=request_id)
        try:
            lease = await self._client.call(self._client.ledger.AcquireLease, request, _DEADLINE)
        except ApiError as error:
            if error.code is grpc.StatusCode.FAILED_PRECONDITION:
                raise LeaseRefused(error.code, error.reason, error.message, metadata=error.metadata) from None
            if error.code in _SAID_NO:
                raise LeaseRefused(
                    grpc.StatusCode.UNAVAILABLE, "LEDGER_REFUSED", _text(error), retry_after=30
                ) from None
            raise _away(error) from None
        return Grant(lease.name, parse_atomic(lease.amount), lease.expire_time.ToNanoseconds() / 1e9)

    async def release(self, name: str, used: int, request_id: str) -> None:
        request = ledger_pb2.ReleaseLeaseRequest(name=name, used=str(used), request_id=request_id)
        try:
            await self._client.call(self._client.ledger.ReleaseLease, request, _DEADLINE)
        except ApiError as error:
            if error.code in _IS_OVER:
                raise LeaseOver(f"{name}: {error}") from None
            raise _away(error) from None


def _away(error: ApiError) -> Fault:
    return unavailable("LEDGER_UNAVAILABLE", _text(error), error.retry_after or 2)


def _text(error: ApiError) -> str:
    return f"the ledger, which must set the fee aside, did not: {error.message}. Nothing was generated or charged"
