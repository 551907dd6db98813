"""The edge of every service: one interceptor in which each RPC passes the same stations, in this order.

Request id, metrics, authentication and access, quota, validation, error mapping.  Servicers behind it see only valid
requests of callers who may make them, raise `Fault`, and know nothing of any of this.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from services.kit import call, logs
from services.kit.auth import ANYONE, PUBLIC, Access, Authenticator, Principal
from services.kit.call import Call
from services.kit.errors import Fault, exhausted, from_exception, invalid
from services.kit.metrics import Metrics
from services.kit.validate import validate

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")
_HEARD_OUT_SECONDS = 1.0
_PROBES = Principal(service="probes")
"""Stands for all who watch health or read the schema: nobody asks who they are, but they share one part of the room."""


class Edge(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """The interceptor.  `access` names who may call each method, by its short name."""

    def __init__(
        self,
        service: str,
        access: Mapping[str, Access],
        authenticator: Authenticator,
        metrics: Metrics,
        *,
        max_rpcs_per_caller: int,
        max_rpcs_of_anyone: int,
        max_rpc_seconds: float,
        max_stream_seconds: float,
    ) -> None:
        self._service, self._access, self._authenticator, self._metrics = service, access, authenticator, metrics
        self._max_per_caller, self._max_of_anyone = max_rpcs_per_caller, max_rpcs_of_anyone
        self._max_seconds, self._max_stream_seconds = max_rpc_seconds, max_stream_seconds
        self._in_hand: Counter[str] = Counter()
        self._log = logs.logger(service)

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """Grpc's hook: wraps the handler of one method."""
        handler = await continuation(details)
        method = details.method
        # A probe's single question is answered at once, whatever else is going on; its streams could be held for ever.
        if handler is None or (method.startswith(_OPEN_SERVICES) and not handler.response_streaming):
            return handler
        make = {
            (False, False): (grpc.unary_unary_rpc_method_handler, self._unary, handler.unary_unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, self._stream, handler.unary_stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, self._unary, handler.stream_unary),
            (True, True): (grpc.stream_stream_rpc_method_handler, self._stream, handler.stream_stream),
        }
        build, wrap, behaviour = make[bool(handler.request_streaming), bool(handler.response_streaming)]
        return build(
            wrap(method, behaviour),
            request_deserializer=_lenient(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _unary(self, method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def handle(request: Any, context: grpc.aio.ServicerContext) -> Any:
            try:
                with (
                    self._measured(method) as outcome,
                    self._admitted(await self._enter(method, context), context.peer()),
                ):
                    async with asyncio.timeout(self._max_seconds):
                        response = await behaviour(_checked(request), context)
                    outcome["code"] = "OK"
                    return response
            except Exception as error:  # noqa: BLE001 - the edge is where every error ends
                await _hear_out(request)
                await self._abort(method, context, error)

        return handle

    def _stream(self, method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def handle(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            try:
                with (
                    self._measured(method) as outcome,
                    self._admitted(await self._enter(method, context), context.peer()),
                ):
                    async with asyncio.timeout(self._max_stream_seconds):
                        responses = behaviour(_checked(request), context)
                        if isinstance(responses, Awaitable):  # gRPC's own health servicer writes by itself
                            await responses
                        else:
                            # Closed when the caller leaves, not when somebody collects it.
                            async with aclosing(responses):
                                async for response in responses:
                                    yield response
                    outcome["code"] = "OK"
            except Exception as error:  # noqa: BLE001 - the edge is where every error ends
                await _hear_out(request)
                await self._abort(method, context, error)

        return handle

    async def _enter(self, method: str, context: grpc.aio.ServicerContext) -> Call:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        given = metadata.get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex
        call.enter(Call(method, request_id, call.principal()))
        context.set_trailing_metadata((("x-request-id", request_id),))
        if method.startswith(_OPEN_SERVICES):
            return Call(method, request_id, _PROBES)
        access = self._access.get(method.rpartition("/")[2], Access())
        authorization = "" if access is PUBLIC else metadata.get("authorization", "")
        principal = await self._authenticator.authenticate(authorization)
        entered = Call(method, request_id, principal)
        call.enter(entered)
        access.check(principal)
        return entered

    @contextmanager
    def _admitted(self, entered: Call, peer: str) -> Any:
        quotas = self._quotas(entered, peer)
        for who, most in quotas.items():
            if self._in_hand[who] >= most:
                raise exhausted("TOO_MANY_CALLS", f"{who} has {most} calls in hand already", retry_after=1)
        self._in_hand.update(quotas.keys())
        try:
            yield
        finally:
            for who in quotas:
                self._in_hand[who] -= 1
                if not self._in_hand[who]:
                    del self._in_hand[who]

    def _quotas(self, entered: Call, peer: str) -> dict[str, int]:
        """How much may be in hand of what the call counts for.

        Of those who do not say who they are, each machine counts by itself, and all together leave room for others;
        each of the services that share a port too, so that whoever asks for sums keeps nobody from signing in.
        """
        if entered.principal != ANYONE:
            return {entered.principal.name: self._max_per_caller}
        anyone, host = f"anyone at {entered.method.split('/')[1]}", peer.rpartition(":")[0]
        return {f"{anyone} from {host}": self._max_per_caller, anyone: self._max_of_anyone}

    @contextmanager
    def _measured(self, method: str) -> Any:
        outcome, started = {"code": ""}, time.monotonic()
        self._metrics.rpcs_running.inc()
        try:
            yield outcome
        except asyncio.CancelledError:
            outcome["code"] = "CANCELLED"
            raise
        except Exception as error:
            outcome["code"] = from_exception(error).code.name
            raise
        finally:
            self._metrics.rpcs_running.dec()
            short = method.rpartition("/")[2]
            self._metrics.rpcs.labels(short, outcome["code"] or "CANCELLED").inc()
            self._metrics.rpc_seconds.labels(short).observe(time.monotonic() - started)

    async def _abort(self, method: str, context: grpc.aio.ServicerContext, error: Exception) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        fault = from_exception(error)
        if not isinstance(error, Fault):
            self._log.error("rpc failed", method=method, reason=fault.reason, exc_info=error)
        await context.abort_with_status(rpc_status.to_status(fault.to_status(self._service)))


async def _hear_out(request: Any) -> None:
    """Take what the caller of a refused stream is sending still, for a moment.

    gRPC's asyncio client forgets a refusal that arrives while it writes, and reports an error of its own instead.
    """
    if hasattr(request, "__aiter__"):
        with suppress(Exception):
            async with asyncio.timeout(_HEARD_OUT_SECONDS):
                async for _ in request:
                    pass


def _checked(request: Any) -> Any:
    """A request that was validated, or a stream of which every message will be."""
    if not hasattr(request, "__aiter__"):
        return _valid(request)

    async def messages() -> AsyncIterator[Any]:
        async for message in request:
            yield _valid(message)

    return messages()


def _valid(message: Any) -> Any:
    if isinstance(message, DecodeError):
        raise invalid("UNREADABLE_REQUEST", "the request is not a message of this method, or its text is not UTF-8")
    validate(message)
    return message


def _lenient(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Bytes that are no message become a value, so that the caller hears what is wrong instead of INTERNAL."""

    def decode(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            return error

    return decode
