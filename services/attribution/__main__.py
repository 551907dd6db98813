"""python -m services.attribution: the service, put together from its configuration."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from eth_account import Account

from openledger import base_models, key_files
from openledger.adapters import RECORD_SKETCHES, SPAN_INDEX
from openledger.artifacts import ArtifactStore
from openledger.attribution.v1 import attribution_pb2, attribution_pb2_grpc
from openledger.client import Client
from openledger.influence.record_sketches import RecordSketches
from openledger.spans.index import SpanIndex
from services.attribution import store
from services.attribution.addresses import Addresses, parse
from services.attribution.attribute import Attributor
from services.attribution.audit import Auditor
from services.attribution.auditing import Auditing
from services.attribution.config import AttributionConfig
from services.attribution.desk import Desk
from services.attribution.explain import Explainer
from services.attribution.fetch import Fetcher
from services.attribution.lanes import Lanes
from services.attribution.outcomes import Outcomes
from services.attribution.records import DrillDown
from services.attribution.replicas import TASK, Replicas
from services.attribution.resolve import Models
from services.attribution.servicer import ACCESS, AttributionServicer
from services.attribution.shelf import Opened, Shelf
from services.attribution.terms import LedgerTerms
from services.attribution.texts import Texts
from services.attribution.traces import PAUSE_SECONDS, Traces
from services.kit import logs, server
from services.kit.background import every
from services.kit.config import load_or_exit
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.metrics import Metrics
from services.kit.payer_keys import PayerKeys, service_key
from services.kit.peers import authenticator, peer_client
from services.kit.private_files import PrivateFiles
from services.kit.server import Assembly, StartError

NAME = attribution_pb2.DESCRIPTOR.services_by_name["AttributionService"].full_name


async def assemble(config: AttributionConfig) -> Assembly:
    """The service with its database brought up to date.  The base model loads after the start, in the background."""
    try:
        key = await asyncio.to_thread(key_files.private_key, config.key_file)
        await asyncio.to_thread(base_models.sha256, config.base)
    except (key_files.KeyFileError, base_models.BaseModelUnavailable) as error:
        raise StartError(str(error)) from error
    logs.logger("attribution").info("receipts are signed", signer=Account.from_key(key).address.lower())
    database = Database(config.database, erases=True)
    await asyncio.to_thread(database.migrate, Path(__file__).parent / "migrations")
    receipts = DurableLog(database, store.METADATA, store.STREAM)
    await asyncio.to_thread(receipts.open)
    artifacts, metrics = ArtifactStore(config.artifacts_dir), Metrics("attribution")
    traces = await _traces(config, database, artifacts)
    named = {"factory": config.factory} if config.factory else {}
    peers = peer_client(config, ledger=config.ledger, **named)
    private = PrivateFiles(config.private_root)
    fetcher = _fetcher(config, peers, private, artifacts, metrics)
    models = Models(artifacts, config.base, config.adapters_dir, threads=config.threads, keep=config.adapters_in_memory)
    lanes, explaining = Lanes("score"), ThreadPoolExecutor(2, "explain")
    outcomes = Outcomes(
        database,
        receipts,
        artifacts,
        traces,
        Attributor(models, artifacts, key, config.max_trace_tokens),
        LedgerTerms(peers, config.terms_seconds),
        lanes,
        metrics,
        want=fetcher.want,
    )
    replicas = Replicas(
        database,
        outcomes,
        Addresses(parse(config.openlora)),
        lambda address: peer_client(config, tls_name=config.openlora_tls_name, openlora=address),
        lanes,
        metrics,
        batch=config.traces_per_batch,
        wait=config.wait_seconds,
        look=config.replicas_seconds,
    )
    auditing = Auditing(
        database, receipts, Auditor(models, artifacts, lanes.second, key, config.audit_bps), traces, metrics
    )
    servicer = AttributionServicer(
        Desk(database, receipts, artifacts, frozenset(config.operators), page_bytes=config.max_message_bytes // 4),
        _explainer(config, artifacts, traces, private, fetcher, models, explaining, lanes.second),
        traces,
    )
    return Assembly(
        config=config,
        services={NAME: lambda s: attribution_pb2_grpc.add_AttributionServiceServicer_to_server(servicer, s)},
        access=ACCESS,
        authenticator=authenticator(config, peers),
        metrics=metrics,
        background={
            TASK: replicas.run,
            "audits": auditing.run,
            "private_files": fetcher.run,
            "retention": every(PAUSE_SECONDS, traces.let_go),
        },
        close=(
            lambda: asyncio.to_thread(lanes.shutdown),
            lambda: asyncio.to_thread(explaining.shutdown, cancel_futures=True),
            peers.__aexit__,
            database.close,
        ),
    )


async def _traces(config: AttributionConfig, database: Database, artifacts: ArtifactStore) -> Traces:
    try:
        key = await asyncio.to_thread(service_key, config.trace_key, database, store.METADATA)
    except key_files.KeyFileError as error:
        raise StartError(str(error)) from error
    keys = PayerKeys(database, store.METADATA, key, forgotten=config.forgotten)
    traces = Traces(database, artifacts, keys, days=config.trace_days)
    await traces.forget_again()
    return traces


def _fetcher(
    config: AttributionConfig, peers: Client, private: PrivateFiles, artifacts: ArtifactStore, metrics: Metrics
) -> Fetcher:
    factory, room, pause = peers if config.factory else None, config.max_private_bytes, config.private_check_seconds
    names = SPAN_INDEX, RECORD_SKETCHES
    return Fetcher(factory, private, artifacts, metrics, names, max_bytes=room, check_seconds=pause)


def _explainer(
    config: AttributionConfig,
    artifacts: ArtifactStore,
    traces: Traces,
    private: PrivateFiles,
    fetcher: Fetcher,
    models: Models,
    worker: ThreadPoolExecutor,
    scoring: Executor,
) -> Explainer:
    keep = config.adapters_in_memory
    indexes = Shelf(Opened(private, SPAN_INDEX, SpanIndex.open, keep), fetcher, artifacts, worker)
    sketches = Shelf(Opened(private, RECORD_SKETCHES, RecordSketches.open, keep), fetcher, artifacts, worker)
    drill_down = DrillDown(artifacts, traces, sketches, models, worker, scoring)
    return Explainer(artifacts, traces, indexes, Texts(config.base), drill_down, worker)


def main() -> int:
    return server.main(load_or_exit(AttributionConfig), assemble)


if __name__ == "__main__":
    raise SystemExit(main())
