"""A typed asyncio client of the five services.

    async with Client(endpoints, wallet) as client:
        await client.sign_in()
        balance = await client.call(client.ledger.GetBalance, GetBalanceRequest(account=wallet.account))

Every call carries a deadline, a request id and the session, renewed when it ends; errors come as `ApiError` with the
service's reason and advice.  The stubs are the generated ones: what the protos say is what there is.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import grpc
from eth_account import Account
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from openledger import names, signing, siwe
from openledger.attribution.v1 import attribution_pb2_grpc
from openledger.datanet.v1 import datanet_pb2_grpc
from openledger.factory.v1 import factory_pb2_grpc
from openledger.identity.v1 import identity_pb2, identity_pb2_grpc
from openledger.ledger.v1 import ledger_pb2_grpc
from openledger.openlora.v1 import openlora_pb2_grpc
from openledger.tls import TlsFiles, open_channel

M = TypeVar("M", bound=Message)

DEADLINE = 60.0
_RENEW_BEFORE = 60.0
_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.keepalive_time_ms", 30_000),
    # gRPC by itself looks for a service that was away less and less often, at last every two minutes.
    ("grpc.max_reconnect_backoff_ms", 3_000),
    # A call that ends UNAVAILABLE before any of its answer came is sent again by itself, even where a service may have
    # begun with it: what changes something carries a request_id, and is done once. The rest is the caller's to repeat.
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRY}]})),
)


class ApiError(Exception):
    """A service's refusal: its gRPC code, its reason (UPPER_SNAKE, see docs/errors/), and what to do."""

    def __init__(
        self, code: grpc.StatusCode, reason: str, message: str, metadata: Mapping[str, str], retry: float | None
    ):
        super().__init__(f"{reason}: {message}")
        self.code, self.reason, self.message = code, reason, message
        self.metadata, self.retry_after = dict(metadata), retry


@dataclass(frozen=True)
class Endpoints:
    """host:port of each service."""

    datanet: str
    factory: str
    openlora: str
    attribution: str
    ledger: str


@dataclass(frozen=True)
class Wallet:
    """A private key, and what it can sign.  The key never leaves the process."""

    private_key: str

    @classmethod
    def create(cls) -> Self:
        """A new random wallet."""
        return cls("0x" + Account.create().key.hex().removeprefix("0x"))

    @property
    def address(self) -> str:
        """Lower-case address."""
        return str(Account.from_key(self.private_key).address).lower()

    @property
    def account(self) -> str:
        """`accounts/{address}`."""
        return names.account(self.address)

    def sign(self, typed: dict[str, Any]) -> bytes:
        """EIP-712 signature."""
        return signing.sign(self.private_key, typed)

    def __repr__(self) -> str:
        """Without the key."""
        return f"Wallet({self.address})"


class Client:
    """Channels to the five services, and a session for one wallet (or none).

    `tls`: the files by which they are reached; None: in clear.  `tls_name`: what their certificates must be for, where
    their addresses do not say so.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        wallet: Wallet | None = None,
        *,
        token: Callable[[], str] | None = None,
        tls: TlsFiles | None = None,
        tls_name: str = "",
    ):
        self.endpoints, self.wallet = endpoints, wallet
        self._tls, self._tls_name = tls, tls_name
        self._channels: dict[str, Any] = {}
        self._token, self._fixed_token, self._expires = "", token, 0.0
        self.datanet = datanet_pb2_grpc.DatanetServiceStub(self._channel(endpoints.datanet))
        self.factory = factory_pb2_grpc.FactoryServiceStub(self._channel(endpoints.factory))
        self.openlora = openlora_pb2_grpc.OpenLoRAServiceStub(self._channel(endpoints.openlora))
        self.attribution = attribution_pb2_grpc.AttributionServiceStub(self._channel(endpoints.attribution))
        self.ledger = ledger_pb2_grpc.LedgerServiceStub(self._channel(endpoints.ledger))
        self.identity = identity_pb2_grpc.IdentityServiceStub(self._channel(endpoints.ledger))

    async def __aenter__(self) -> Self:
        """Itself; channels open when first used."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes every channel."""
        for channel in self._channels.values():
            await channel.close()

    async def sign_in(self) -> None:
        """A session for the wallet (EIP-4361).  `call` does this by itself when one is needed."""
        if self.wallet is None:
            raise ValueError("this client has no wallet to sign in with")
        try:
            session = await self._new_session(self.wallet)
        except ApiError as error:
            # Sent twice by gRPC: the ledger had taken it, and was gone before it could say so.
            if error.reason != "NONCE_USED":
                raise
            session = await self._new_session(self.wallet)
        self._token, self._expires = session.token, float(session.expire_time.seconds)

    async def call(self, method: Any, request: Message | AsyncIterator[Message], timeout: float = DEADLINE) -> Any:
        """One answer of a unary-answer method (its request may be a stream).  Raises `ApiError`."""
        try:
            return await self._unary(method, request, timeout, await self._session())
        except ApiError as error:
            # A request that is a stream may be used up: it is its sender's to repeat.
            if not self._is_over(error) or not isinstance(request, Message):
                raise
        return await self._unary(method, request, timeout, await self._session())

    async def stream(
        self, method: Any, request: Message | AsyncIterator[Message], timeout: float = 600.0
    ) -> AsyncIterator[Any]:
        """The answers of a streaming method (its request may be a stream, too).  Raises `ApiError`."""
        for last in (not isinstance(request, Message), True):
            running = method(request, timeout=timeout, metadata=_metadata(await self._session()))
            try:
                async for message in running:
                    yield message
                return
            except grpc.aio.AioRpcError as error:
                told = to_api_error(error)
                # Refused at the door, before any answer.
                if last or not self._is_over(told):
                    raise told from None
            finally:
                running.cancel()

    async def wait(self, service: str, operation: Any, response: type[M], timeout: float = 600.0) -> M:
        """The result of a long-running operation of the service at that endpoint.  Raises `ApiError` if it failed."""
        stub = operations_pb2_grpc.OperationsStub(self._channel(getattr(self.endpoints, service)))
        deadline = time.monotonic() + timeout
        while not operation.done:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{operation.name} is not done after {timeout:.0f} s")
            request = operations_pb2.WaitOperationRequest(name=operation.name)
            request.timeout.FromMilliseconds(round(1000 * min(20, left)))
            operation = await self.call(stub.WaitOperation, request)
        if operation.HasField("error"):
            raise _api_error(operation.error)
        result = response()
        operation.response.Unpack(result)
        return result

    async def _new_session(self, wallet: Wallet) -> identity_pb2.Session:
        request = identity_pb2.CreateChallengeRequest(address=wallet.address)
        message = (await self._unary(self.identity.CreateChallenge, request, DEADLINE, "")).message
        signed = identity_pb2.CreateSessionRequest(message=message, signature=siwe.sign(wallet.private_key, message))
        session: identity_pb2.Session = await self._unary(self.identity.CreateSession, signed, DEADLINE, "")
        return session

    def _is_over(self, error: ApiError) -> bool:
        """Whether the session is over, against what our clock says, or its issuer's key was changed.

        The next call has a new one.
        """
        over = error.reason in ("TOKEN_EXPIRED", "BAD_TOKEN") and self.wallet is not None and self._fixed_token is None
        if over:
            self._expires = 0.0
        return over

    async def _session(self) -> str:
        if self._fixed_token is not None:
            return self._fixed_token()
        if self.wallet is not None and time.time() > self._expires - _RENEW_BEFORE:
            await self.sign_in()
        return self._token

    async def _unary(self, method: Any, request: Any, timeout: float, token: str) -> Any:
        try:
            return await method(request, timeout=timeout, metadata=_metadata(token))
        except grpc.aio.AioRpcError as error:
            raise to_api_error(error) from None

    def _channel(self, endpoint: str) -> Any:
        if endpoint not in self._channels:
            self._channels[endpoint] = open_channel(endpoint, self._tls, _OPTIONS, self._tls_name)
        return self._channels[endpoint]


def request_id() -> str:
    """A fresh request id."""
    return str(uuid.uuid4())


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    identity = (("authorization", f"Bearer {token}"),) if token else ()
    return (("x-request-id", uuid.uuid4().hex), *identity)


def to_api_error(error: grpc.aio.AioRpcError) -> ApiError:
    """What a service said, or that it could not be reached."""
    status = rpc_status.from_call(error)
    if status is not None:
        return _api_error(status)
    reason = "UNREACHABLE" if error.code() is grpc.StatusCode.UNAVAILABLE else error.code().name
    return ApiError(error.code(), reason, error.details() or "the service said nothing", {}, None)


def _api_error(status: Any) -> ApiError:
    reason, metadata, retry = "UNKNOWN", {}, None
    for detail in status.details:
        info, delay = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(delay):
            retry = delay.retry_delay.ToTimedelta().total_seconds()
    code = next((c for c in grpc.StatusCode if c.value[0] == status.code), grpc.StatusCode.UNKNOWN)
    return ApiError(code, reason, status.message, metadata, retry)
