"""python -m services.factory: the service, put together from its configuration."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from eth_account import Account

from openledger import base_models, key_files
from openledger.artifacts import ArtifactStore
from openledger.client import Client
from openledger.factory.v1 import factory_pb2, factory_pb2_grpc
from services.factory import lines, store, store_revisions
from services.factory.admit import Admission
from services.factory.bell import Bell
from services.factory.combine import Combiner
from services.factory.config import FactoryConfig
from services.factory.estimate import Estimator, Tariff
from services.factory.gather import Gatherer
from services.factory.job import Limits, Runner
from services.factory.ledger_registrar import LedgerRegistrar
from services.factory.memory import machine_bytes
from services.factory.passes import fastest_precision
from services.factory.private_work import PrivateWork
from services.factory.registering import Registering
from services.factory.retention import Retention
from services.factory.run_shard import shard
from services.factory.servicer import ACCESS, FactoryServicer
from services.factory.source import DatanetSource
from services.factory.workshop import Workshop
from services.kit import logs, server
from services.kit.config import load_or_exit
from services.kit.database import Database
from services.kit.executor_folder import FolderExecutor
from services.kit.executor_open import open_executor, room
from services.kit.metrics import Metrics
from services.kit.peers import authenticator, peer_client
from services.kit.private_files import PrivateFiles
from services.kit.server import Assembly, StartError

NAME = factory_pb2.DESCRIPTOR.services_by_name["FactoryService"].full_name


async def assemble(config: FactoryConfig) -> Assembly:
    """The service with its database brought up to date."""
    key = await asyncio.to_thread(_signing_key, config)
    database = Database(config.database)
    await asyncio.to_thread(database.migrate, Path(__file__).parent / "migrations")
    peers = peer_client(config, datanet=config.datanet, **({"ledger": config.ledger} if config.ledger else {}))
    source, records, bell = DatanetSource(peers), ArtifactStore(config.records_root), Bell()
    admission = Admission(source, config.bases, config.licence_terms)
    gatherer = Gatherer(database, source, records)
    await asyncio.to_thread(gatherer.sweep)
    tariff = Tariff(config.price_per_1k_tokens, config.max_seconds, _memory(config), config.at_once)
    precision = fastest_precision() if config.precision == "fastest" else config.precision
    private, executor = PrivateFiles(config.private_root), _executor(config)
    artifacts = ArtifactStore(config.artifacts_dir)
    workshop = Workshop(
        database=database,
        admission=admission,
        estimator=Estimator(database, admission, gatherer, tariff),
        records=records,
        private=private,
        artifacts=artifacts,
        combiner=_combiner(config, artifacts, key),
        find=executor.find,
        bell=bell,
        workers=config.executor_root,
        threads=config.threads,
        precision=precision,
        most_unfinished=config.max_unfinished_per_account,
    )
    limits = Limits(config.max_read_seconds, config.max_seconds, config.at_once)
    withheld = PrivateWork(database, executor, private, key, config.record_sketches)
    retention = Retention(database, executor, records, config.keep_days, shard)
    runner = Runner(database, admission, gatherer, executor, withheld, bell, limits, key, retention)
    servicer = FactoryServicer(workshop)
    return Assembly(
        config=config,
        services={
            NAME: lambda grpc_server: factory_pb2_grpc.add_FactoryServiceServicer_to_server(servicer, grpc_server)
        },
        access=ACCESS,
        authenticator=authenticator(config, peers),
        metrics=_metrics(database),
        background={"fine-tunes": runner.run, **_registering(config, database, peers, bell)},
        close=(executor.close, peers.__aexit__, database.close),
    )


def _combiner(config: FactoryConfig, artifacts: ArtifactStore, key: str) -> Combiner:
    limits = (config.combined_rank, config.combined_index_bytes)
    combiner = Combiner(artifacts, config.data_dir / "combining", config.licence_terms, key, *limits)
    combiner.open()
    return combiner


def _metrics(database: Database) -> Metrics:
    metrics = Metrics("factory")
    metrics.gauge("fine_tunes_unfinished", "Fine-tunes that wait or run").set_function(
        lambda: database.read_now(store.queue_length)
    )
    metrics.gauge("revisions_unregistered", "Published revisions that are not on chain yet").set_function(
        lambda: len(database.read_now(store_revisions.unregistered))
    )
    return metrics


def _registering(
    config: FactoryConfig, database: Database, peers: Client, bell: Bell
) -> dict[str, Callable[[], Awaitable[None]]]:
    """The background work that gets revisions on chain; none where there is no ledger."""
    if not config.ledger:
        return {}
    registrar = LedgerRegistrar(peers, config.register_wait_seconds)
    poll, backoff = config.register_poll_seconds, config.register_backoff_seconds
    return {"registrations": Registering(database, registrar, bell, poll, backoff).run}


def _executor(config: FactoryConfig) -> FolderExecutor:
    """Where fine-tunes run.  Raises `StartError`."""
    environment = {lines.FOLDER: str(config.records_root.resolve())}
    if base_models.REGISTRY_FILE in os.environ:
        environment[base_models.REGISTRY_FILE] = os.environ[base_models.REGISTRY_FILE]
    try:
        return open_executor(
            config.executor,
            config.executor_root,
            environment=environment,
            cpus=config.threads,
            gpus=config.worker_gpus,
            memory=_memory(config) or None,
        )
    except ConnectionError as error:
        raise StartError(f"{error}. Is OPENLEDGER_FACTORY_EXECUTOR what it should be?") from error


def _signing_key(config: FactoryConfig) -> str:
    """The key that manifests are signed with.  Raises `StartError`, also for mistakes in the registry of bases."""
    try:
        base_models.registry()
        key = key_files.private_key(config.key_file)
    except (key_files.KeyFileError, base_models.BaseModelUnavailable) as error:
        raise StartError(str(error)) from error
    logs.logger("factory").info("lineage manifests are signed", signer=Account.from_key(key).address.lower())
    return key


def _memory(config: FactoryConfig) -> int:
    """Bytes that a worker may take: what the operator says, else its part of this machine's; 0 on a cluster's nodes."""
    if config.worker_memory_mib is not None:
        return config.worker_memory_mib * 2**20
    return machine_bytes() // room(config.threads) if config.executor == "local" else 0


def main() -> int:
    return server.main(load_or_exit(FactoryConfig), assemble)


if __name__ == "__main__":
    raise SystemExit(main())
