"""Wiring of the OpenLoRA service: `python -m services.openlora`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from openledger import base_models
from openledger.artifacts import ArtifactStore
from openledger.client import Client
from openledger.openlora.v1 import openlora_pb2_grpc
from services.kit.config import load_or_exit
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.metrics import Metrics
from services.kit.peers import authenticator, peer_client
from services.kit.server import Assembly, StartError, main
from services.openlora import store
from services.openlora.adapters import Adapters
from services.openlora.admission import Admission, Space
from services.openlora.answer import Answers, Terms
from services.openlora.config import OpenLoRAConfig
from services.openlora.desk import Desk
from services.openlora.engine import Engine, EngineDead, open_engine
from services.openlora.engine_supervised import SupervisedEngine
from services.openlora.leases import LedgerLeases
from services.openlora.meters import Meters
from services.openlora.question import Limits
from services.openlora.records import DatanetRoots, Roots
from services.openlora.servicer import ACCESS, OpenLoRA
from services.openlora.spend import Spending
from services.openlora.tracelog import TraceLog

MIGRATIONS = Path(__file__).parent / "migrations"
_SERVICE = "openledger.openlora.v1.OpenLoRAService"
_SETTLE_SECONDS = 10.0
"""Between the last moment at which an answer may be given and the end of the lease that pays it."""


async def assemble(config: OpenLoRAConfig) -> Assembly:
    """The service with the engine that its configuration names.  Raises `StartError`."""
    try:
        folder = await asyncio.to_thread(base_models.locate, config.base)
        open_again = partial(open_engine, config.engine, folder, config.engine_settings)
        engine = await SupervisedEngine.open(open_again, give_up=lambda: os.kill(os.getpid(), signal.SIGTERM))
    except (base_models.BaseModelUnavailable, EngineDead) as error:
        raise StartError(str(error)) from error
    return await assemble_with(config, engine)


async def assemble_with(config: OpenLoRAConfig, engine: Engine) -> Assembly:
    """The service around an engine that is open."""
    database = Database(config.database)
    database.migrate(MIGRATIONS)
    log = DurableLog(database, store.METADATA, "traces")
    log.open()
    peers = peer_client(config, ledger=config.ledger, **({"datanet": config.datanet} if config.datanet else {}))
    spending, space = _spending(config, database, log, peers), Space(database)
    await spending.open()
    metrics = Metrics("openlora")
    roots = DatanetRoots(peers if config.datanet else None)
    desk = await _desk(config, engine, log, roots, spending, space, Meters(metrics))
    # What it has no method for yet is answered UNIMPLEMENTED, and open to nobody.
    servicer, answers = OpenLoRA(desk), desk.answers  # type: ignore[abstract]
    return Assembly(
        config=config,
        services={_SERVICE: lambda server: openlora_pb2_grpc.add_OpenLoRAServiceServicer_to_server(servicer, server)},
        access=ACCESS,
        authenticator=authenticator(config, peers),
        metrics=metrics,
        background={
            "leases": _every(config.tend_seconds, spending.tend),
            "space": _every(config.tend_seconds, space.probe),
        },
        healthy=engine.health,
        # What is being stored first, then the money it costs, then what both need.
        close=[answers.close, spending.close, engine.close, lambda: peers.__aexit__(None, None, None), database.close],
    )


async def _desk(
    config: OpenLoRAConfig,
    engine: Engine,
    log: DurableLog,
    roots: Roots,
    spending: Spending,
    space: Space,
    meters: Meters,
) -> Desk:
    base_sha256 = await asyncio.to_thread(base_models.sha256, config.base)
    admission = Admission(config.max_running, config.max_queued)
    meters.watch(
        queued=lambda: admission.queued,
        running=lambda: admission.running,
        leases=lambda: spending.leases,
        disk_full=lambda: space.full,
    )
    meters.trace_log.set((await log.read(0, limit=0)).high_watermark)
    adapters = Adapters(ArtifactStore(config.artifacts_dir), config.data_dir / "adapters", base_sha256, engine)
    limits = Limits(config.max_prompt_tokens, config.max_tokens, engine.context, engine.samples)
    prices, traces = config.price_list, TraceLog(log)
    terms = Terms(config.base, base_sha256, prices, limits, config.max_answer_seconds)
    return Desk(
        answers=Answers(terms, engine, adapters, spending, traces, admission, space, meters),
        engine=engine,
        adapters=adapters,
        traces=traces,
        roots=roots,
        prices=prices,
        base=config.base,
        max_tokens=config.max_tokens,
        batch_bytes=config.max_message_bytes // 2,
    )


def _spending(config: OpenLoRAConfig, database: Database, log: DurableLog, ledger: Client) -> Spending:
    return Spending(
        database,
        log,
        LedgerLeases(ledger),
        chunk=config.lease_chunk,
        smallest=config.price_list.least(1, 1),
        margin=config.max_answer_seconds + _SETTLE_SECONDS,
        idle=config.lease_idle_seconds,
    )


def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        while True:
            await work()
            await asyncio.sleep(seconds)

    return run


if __name__ == "__main__":
    sys.exit(main(load_or_exit(OpenLoRAConfig), assemble))
