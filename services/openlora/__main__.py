"""Wiring of the OpenLoRA service: `python -m services.openlora`."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

from openledger import base_models
from openledger.artifacts import ArtifactStore
from openledger.base_model_shape import BaseModelShape
from openledger.client import Client
from openledger.key_files import KeyFileError
from openledger.openlora.v1 import openlora_pb2_grpc
from services.kit.background import every
from services.kit.config import load_or_exit
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.metrics import Metrics
from services.kit.payer_keys import PayerKeys, service_key
from services.kit.peers import authenticator, peer_client
from services.kit.server import Assembly, StartError, main
from services.openlora import store
from services.openlora.adapters import Adapters
from services.openlora.admission import Admission
from services.openlora.answer import Answers, Terms
from services.openlora.asking import Asking
from services.openlora.config import OpenLoRAConfig
from services.openlora.desk import Desk
from services.openlora.draft import Made
from services.openlora.engine import Engine, EngineDead, open_engine
from services.openlora.engine_supervised import SupervisedEngine
from services.openlora.gauges import Gauges
from services.openlora.importing import Imports
from services.openlora.leases import LedgerLeases
from services.openlora.meters import Meters
from services.openlora.pins import Pins
from services.openlora.question import Limits
from services.openlora.records import DatanetRoots, Roots
from services.openlora.replay import Replays
from services.openlora.retention import PAUSE_SECONDS, Retention
from services.openlora.servicer import ACCESS, OpenLoRA
from services.openlora.shelf import Shelf
from services.openlora.space import Space
from services.openlora.spend import Spending
from services.openlora.tracelog import AnothersLog, TraceLog

MIGRATIONS = Path(__file__).parent / "migrations"
_SERVICE = "openledger.openlora.v1.OpenLoRAService"
_SETTLE_SECONDS = 10.0
"""Between the last moment at which an answer may be given and the end of the lease that pays it."""


async def assemble(config: OpenLoRAConfig) -> Assembly:
    """The service with the engine that its configuration names.  Raises `StartError`."""
    try:
        folder = await asyncio.to_thread(base_models.locate, config.base)
        open_again = partial(open_engine, config.engine, folder, config.engine_settings)
        broken = asyncio.Event()
        engine = await SupervisedEngine.open(open_again, give_up=broken.set)
    except (base_models.BaseModelUnavailable, EngineDead) as error:
        raise StartError(str(error)) from error
    return await assemble_with(config, engine, broken)


async def assemble_with(config: OpenLoRAConfig, engine: Engine, broken: asyncio.Event | None = None) -> Assembly:
    """The service around an engine that is open.  broken: set when the engine is given up."""
    database = Database(config.database, erases=True)
    database.migrate(MIGRATIONS)
    log = DurableLog(database, store.METADATA, "traces")
    log.open()
    peers = peer_client(config, ledger=config.ledger, **({"datanet": config.datanet} if config.datanet else {}))
    spending, space = _spending(config, database, log, peers), Space(database)
    await spending.open()
    metrics = Metrics("openlora")
    roots = DatanetRoots(peers if config.datanet else None)
    traces = await _traces(config, database, log)
    desk = await _desk(config, engine, database, traces, roots, spending, space, metrics)
    servicer, answers = OpenLoRA(desk), desk.answers
    return Assembly(
        config=config,
        services={_SERVICE: lambda server: openlora_pb2_grpc.add_OpenLoRAServiceServicer_to_server(servicer, server)},
        access=ACCESS,
        authenticator=authenticator(config, peers),
        metrics=metrics,
        background={
            "leases": every(config.tend_seconds, spending.tend),
            "adapters": every(config.tend_seconds, desk.adapters.tend),
            "space": every(config.tend_seconds, space.probe),
            "forgetting": every(config.tend_seconds, traces.destroy),
            "retention": every(PAUSE_SECONDS, Retention(database, log, traces, days=config.trace_days).step),
        },
        healthy=engine.health,
        broken=broken or asyncio.Event(),
        leaving=[answers.leave],
        # What is being stored first, then the money it costs, then what both need.
        close=[
            desk.asking.close,
            desk.replays.close,
            answers.close,
            desk.imports.close,
            desk.adapters.close,
            spending.close,
            engine.close,
            lambda: peers.__aexit__(None, None, None),
            database.close,
        ],
    )


async def _desk(
    config: OpenLoRAConfig,
    engine: Engine,
    database: Database,
    traces: TraceLog,
    roots: Roots,
    spending: Spending,
    space: Space,
    metrics: Metrics,
) -> Desk:
    base_sha256 = await asyncio.to_thread(base_models.sha256, config.base)
    meters = Meters(metrics)
    admission = Admission(config.bounds, meters.made)
    meters.watch(
        queued=lambda: admission.queued,
        running=lambda: admission.running,
        leases=lambda: spending.leases,
        lease_free=lambda: spending.free,
        disk_full=lambda: space.full,
    )
    meters.trace_log.set(traces.end)
    metrics.gauge("trace_lag", "Traces that Attribution does not have yet").set_function(lambda: traces.lag)
    adapters = await _adapters(config, engine, base_sha256)
    pins = Pins(database, adapters, frozenset(config.operators), config.max_adapters - config.max_active_adapters)
    await pins.open()
    meters.show(Gauges(admission, config.max_active_adapters, adapters))
    limits = Limits(config.max_prompt_tokens, config.max_tokens, engine.context, engine.samples)
    prices = config.price_list
    made = Made(config.base, base_sha256, engine.description)
    terms = Terms(made, prices, limits, config.max_answer_seconds)
    replaying = (database, traces, adapters, admission, engine, metrics)
    return Desk(
        asking=Asking(engine, limits, config.replica),
        answers=Answers(terms, engine, adapters, spending, traces, admission, space, meters),
        engine=engine,
        adapters=adapters,
        traces=traces,
        replays=Replays(
            *replaying, base_sha256=base_sha256, seconds=config.max_answer_seconds, operators=config.operators
        ),
        roots=roots,
        prices=prices,
        limits=limits,
        base=config.base,
        batch_bytes=config.max_message_bytes // 2,
        imports=await _imports(config, engine, database, adapters),
        pins=pins,
    )


async def _traces(config: OpenLoRAConfig, database: Database, log: DurableLog) -> TraceLog:
    try:
        key = await asyncio.to_thread(service_key, config.trace_key, database, store.METADATA)
    except KeyFileError as error:
        raise StartError(str(error)) from error
    most, replica = config.max_trace_lag, config.replica
    keys = PayerKeys(database, store.METADATA, key, forgotten=config.forgotten)
    await keys.retire_again()
    traces = TraceLog(database, log, keys, most_behind=most, replica=replica)
    try:
        await traces.open()
    except AnothersLog as error:
        raise StartError(str(error)) from error
    return traces


async def _adapters(config: OpenLoRAConfig, engine: Engine, base_sha256: str) -> Adapters:
    artifacts, folder = ArtifactStore(config.artifacts_dir), config.data_dir / "adapters"
    shelf = Shelf(artifacts, folder, base_sha256, config.adapters_bytes, config.signers)
    await asyncio.to_thread(shelf.open)
    places, batch = config.max_adapters, config.max_active_adapters
    return Adapters(shelf, engine, places=places, share=max(batch, places // 2), loads=config.load_concurrency)


async def _imports(config: OpenLoRAConfig, engine: Engine, database: Database, adapters: Adapters) -> Imports:
    base = await asyncio.to_thread(base_models.locate, config.base)
    imports = Imports(
        database,
        ArtifactStore(config.artifacts_dir),
        adapters.shelf,
        config.data_dir / "imports",
        BaseModelShape.read(base),
        config.import_limits,
        max_rank=config.max_rank,
        dora=engine.name == "transformers",
    )
    await asyncio.to_thread(imports.open)
    return imports


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


if __name__ == "__main__":
    sys.exit(main(load_or_exit(OpenLoRAConfig), assemble))
