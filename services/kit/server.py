"""Runs a service: listening, health, reflection, metrics, background work, and an end that loses nothing.

On SIGTERM: who must know is told, NOT_SERVING, no new calls, calls in hand get their time, background work stops,
stores close.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server
from sqlalchemy.exc import DBAPIError

from services.kit import logs
from services.kit.auth import Access, Authenticator
from services.kit.background import kept_going
from services.kit.config import ServiceConfig, hidden
from services.kit.database import SchemaError
from services.kit.edge import Edge
from services.kit.metrics import Metrics
from services.kit.tls import Renewed, server_credentials

C = TypeVar("C", bound=ServiceConfig)

_HEALTH_SECONDS = 1.0
BROKEN = 4
"""Exit status of a service that could not go on."""


class StartError(RuntimeError):
    """The service cannot start; the text says why and what to do."""


@dataclass
class Assembly:
    """A service put together: what its `__main__` makes of its configuration, and what `running` runs."""

    config: ServiceConfig
    services: Mapping[str, Callable[[grpc.aio.Server], None]]
    """Full gRPC service name to the function that adds its servicer."""
    access: Mapping[str, Access]
    authenticator: Authenticator
    metrics: Metrics
    background: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """Endless work by name.  What raises is logged, counted and started again, later each time."""
    healthy: Callable[[], Awaitable[None]] | None = None
    """Raises while the service cannot do its work: then its health is NOT_SERVING, until this returns again."""
    leaving: Sequence[Callable[[], None]] = ()
    """Told first of all that the end begins: calls in hand are cut off soon."""
    close: Sequence[Callable[[], Any]] = ()
    """What to close at the end, in this order; may be async."""
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the service cannot go on: it ends in good order, with another exit status, to be started anew."""


@asynccontextmanager
async def running(assembly: Assembly) -> AsyncIterator[int]:
    """The service, serving, on the port that this gives; everything is stopped and closed on leaving."""
    # What comes up is taken down again in reverse order, even when what follows it does not come up.
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_close, assembly)
        server, checks = _build(assembly)
        certificates = _certificates(assembly.config)
        port = _listen(server, assembly.config, certificates)
        _serve_metrics(assembly, stack)
        background = {**assembly.background, "health": lambda: _watch_health(assembly, certificates, checks)}
        work = [kept_going(assembly.metrics, name, each) for name, each in background.items()]
        tasks = [asyncio.create_task(each) for each in work]
        stack.push_async_callback(_cancel, tasks)
        await _serve_health(assembly.config, checks, stack)
        await server.start()
        stack.push_async_callback(server.stop, assembly.config.drain_seconds)
        stack.push_async_callback(checks.enter_graceful_shutdown)
        for leave in assembly.leaving:
            stack.callback(leave)
        await _say_health(assembly, certificates, checks)
        yield port


def main(config: C, assemble: Callable[[C], Awaitable[Assembly]]) -> int:
    """A service's command line: serve until SIGTERM or SIGINT, or until it cannot go on; returns the exit status."""
    logs.configure(config.log_level)
    try:
        with _alone_in(config.data_dir, config.service):
            broken = asyncio.run(_serve(config, assemble))
    except StartError as error:
        sys.stderr.write(f"{config.service} cannot start: {error}\n")
        return 3
    return BROKEN if broken else 0


@contextmanager
def _alone_in(folder: Path, service: str) -> Iterator[None]:
    """Hold the service's folder.  Two processes on one would undo each other's unfinished work as a dead one's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / f"{service}.lock").open("w")
    except OSError as error:
        raise StartError(f"{error.strerror}: {error.filename or folder}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(
                f"another {service} runs in {folder}: stop it, or set OPENLEDGER_{service.upper()}_DATA_DIR"
            ) from None
        yield


async def _serve(config: C, assemble: Callable[[C], Awaitable[Assembly]]) -> bool:
    """Whether it ended because it could not go on."""
    log = logs.logger(config.service)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    logs.told(config.service, "starting", config=config.resolved())
    if len(config.secrets) > 1:
        setting = f"OPENLEDGER_{config.service.upper()}_SERVICE_SECRET_ALSO"
        log.warning("a second secret of services is taken as well", setting=setting)
    try:
        assembly = await assemble(config)
    except OSError as error:
        raise StartError(f"{error.strerror or error}: {error.filename or config.data_dir}") from error
    except SchemaError as error:
        raise StartError(str(error)) from error
    except DBAPIError as error:
        raise StartError(
            f"its database {hidden(config.database)} cannot be used: {error.orig}. Is it there, and is it what "
            f"OPENLEDGER_{config.service.upper()}_DATABASE_URL should name?"
        ) from error
    async with running(assembly) as port:
        log.info("serving", port=port)
        # One line on stdout that a supervisor can wait for.
        sys.stdout.write(json.dumps({"service": config.service, "serving": True, "port": port}) + "\n")
        sys.stdout.flush()
        breaking = asyncio.create_task(assembly.broken.wait())
        breaking.add_done_callback(lambda _: stop.set())
        await stop.wait()
        breaking.cancel()
        log.info("stopping", broken=assembly.broken.is_set())
    return assembly.broken.is_set()


def _build(assembly: Assembly) -> tuple[Any, Any]:
    config = assembly.config
    edge = Edge(
        config.service,
        assembly.access,
        assembly.authenticator,
        assembly.metrics,
        max_rpcs_per_caller=config.max_rpcs_per_caller,
        max_rpcs_of_anyone=max(config.max_rpcs_per_caller, config.max_rpcs // 3),
        max_rpc_seconds=config.max_rpc_seconds,
        max_stream_seconds=config.max_stream_seconds,
    )
    server = grpc.aio.server(
        interceptors=[edge],
        maximum_concurrent_rpcs=config.max_rpcs,
        options=[
            ("grpc.max_receive_message_length", config.max_message_bytes),
            # What is sent was bounded by whoever made it; an answer that is true by now must not be held back.
            ("grpc.max_send_message_length", -1),
            # Two servers on one port would share its calls in secret; a taken port must be an error.
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            # Who is gone without a word is noticed, whatever it had in hand.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # What counts in gRPC's core for whoever reads no more: by itself a minute, whatever the line above says.
            ("grpc.http2.ping_timeout_ms", 10_000),
            ("grpc.http2.max_pings_without_data", 0),
        ],
    )
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for add in assembly.services.values():
        add(server)
    names = (*assembly.services, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return server, checks


def _certificates(config: ServiceConfig) -> Renewed | None:
    """What the port is served with; None: in clear."""
    if config.tls is None:
        return None
    try:
        return Renewed(config.service, config.tls)
    except OSError as error:
        why = f"{error.filename or ''} cannot be read: {error.strerror or error}"
        raise StartError(f"{why.strip()}. See OPENLEDGER_{config.service.upper()}_TLS_...") from error


def _listen(server: Any, config: ServiceConfig, certificates: Renewed | None) -> int:
    name = f"OPENLEDGER_{config.service.upper()}_LISTEN"
    if certificates is None:
        return _opened(server.add_insecure_port, config.listen, name)
    credentials = server_credentials(certificates, callers=config.tls_callers)
    return _opened(lambda where: server.add_secure_port(where, credentials), config.listen, name)


def _opened(add: Callable[[str], int], where: str, setting: str) -> int:
    try:
        port = add(where)
    except RuntimeError:
        port = 0
    if not port:
        raise StartError(
            f"{where} cannot be listened on: the port is taken by another program, or the address is not this "
            f"machine's. Stop the other program, or set {setting}"
        )
    return int(port)


async def _serve_health(config: ServiceConfig, checks: Any, stack: AsyncExitStack) -> None:
    """On a port of its own: probes of Kubernetes speak no TLS, and have no certificate.

    Check alone: anybody can call here, and a few that watch would keep the probes out.
    """
    if not config.health_listen:
        return
    server = grpc.aio.server(maximum_concurrent_rpcs=16, options=[("grpc.so_reuseport", 0)])
    request, response = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
    check = grpc.unary_unary_rpc_method_handler(checks.Check, request.FromString, response.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(health.SERVICE_NAME, {"Check": check}),))
    _opened(server.add_insecure_port, config.health_listen, f"OPENLEDGER_{config.service.upper()}_HEALTH_LISTEN")
    await server.start()
    stack.push_async_callback(server.stop, None)


def _serve_metrics(assembly: Assembly, stack: AsyncExitStack) -> None:
    where = assembly.config.metrics_listen
    if not where:
        return
    host, _, port = where.rpartition(":")
    try:
        server, _ = start_http_server(int(port), host, assembly.metrics.registry)
    except OSError as error:
        name = f"OPENLEDGER_{assembly.config.service.upper()}_METRICS_LISTEN"
        raise StartError(f"metrics cannot be served on {where}: {error.strerror}. Set {name}") from error
    stack.callback(server.server_close)
    stack.callback(server.shutdown)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _close(assembly: Assembly) -> None:
    for close in assembly.close:
        try:
            result = close()
            if isinstance(result, Awaitable):
                await result
        except Exception:  # noqa: BLE001
            # The next one may hold a process or a file: it is closed all the same.
            logs.logger(assembly.config.service).exception("something could not be closed")


async def _watch_health(assembly: Assembly, certificates: Renewed | None, checks: Any) -> None:
    while assembly.healthy is not None or certificates is not None:
        await asyncio.sleep(_HEALTH_SECONDS)
        await _say_health(assembly, certificates, checks)


async def _say_health(assembly: Assembly, certificates: Renewed | None, checks: Any) -> None:
    status = health_pb2.HealthCheckResponse.SERVING
    try:
        if certificates is not None:
            certificates.must_be_valid()
        if assembly.healthy is not None:
            await assembly.healthy()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        status = health_pb2.HealthCheckResponse.NOT_SERVING
        logs.logger(assembly.config.service).error("not serving", error=str(error))
    for name in ("", *assembly.services):
        await checks.set(name, status)
