"""python -m services.factory: the service, put together from its configuration."""

from __future__ import annotations

import asyncio
from pathlib import Path

from openledger.artifacts import ArtifactStore
from openledger.factory.v1 import factory_pb2, factory_pb2_grpc
from services.factory import lines, store
from services.factory.bell import Bell
from services.factory.config import FactoryConfig
from services.factory.job import Limits, Runner
from services.factory.passes import fastest_precision
from services.factory.servicer import ACCESS, FactoryServicer, Workshop
from services.factory.source import DatanetSource
from services.kit import server
from services.kit.config import load_or_exit
from services.kit.database import Database
from services.kit.executor_local import LocalExecutor
from services.kit.metrics import Metrics
from services.kit.peers import authenticator, peer_client
from services.kit.server import Assembly

NAME = factory_pb2.DESCRIPTOR.services_by_name["FactoryService"].full_name


async def assemble(config: FactoryConfig) -> Assembly:
    """The service with its database brought up to date."""
    database = Database(config.database)
    await asyncio.to_thread(database.migrate, Path(__file__).parent / "migrations")
    peers = peer_client(config, datanet=config.datanet, **({"ledger": config.ledger} if config.ledger else {}))
    source, records, bell = DatanetSource(peers), ArtifactStore(config.records_root), Bell()
    artifacts = ArtifactStore(config.artifacts_dir)
    precision = fastest_precision() if config.precision == "fastest" else config.precision
    workshop = Workshop(database, source, records, artifacts, bell, config.bases, config.threads, precision)
    limits = Limits(config.max_read_seconds, config.max_seconds)
    executor = LocalExecutor(config.executor_root, environment={lines.FOLDER: str(config.records_root.resolve())})
    runner = Runner(database, source, executor, records, bell, limits)
    metrics = Metrics("factory")
    metrics.gauge("fine_tunes_unfinished", "Fine-tunes that wait or run").set_function(
        lambda: database.read_now(store.queue_length)
    )
    servicer = FactoryServicer(workshop)
    return Assembly(
        config=config,
        services={
            NAME: lambda grpc_server: factory_pb2_grpc.add_FactoryServiceServicer_to_server(servicer, grpc_server)
        },
        access=ACCESS,
        authenticator=authenticator(config, peers),
        metrics=metrics,
        background={"fine-tunes": runner.run},
        close=(peers.__aexit__, database.close),
    )


def main() -> int:
    return server.main(load_or_exit(FactoryConfig), assemble)


if __name__ == "__main__":
    raise SystemExit(main())
