"""Puts the datanet service together and runs it: `python -m services.datanet`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from google.longrunning import operations_pb2_grpc

from openledger.client import Client
from openledger.datanet.v1 import datanet_pb2_grpc
from services.datanet.anchoring import Anchoring
from services.datanet.anchors import LedgerAnchors
from services.datanet.config import DatanetConfig
from services.datanet.files import limits as files
from services.datanet.files.parsed import TASK_MODULE
from services.datanet.parse import Parsing
from services.datanet.servicer import ACCESS, DatanetServicer
from services.datanet.store import METADATA
from services.datanet.upload import Limits, Room
from services.kit import server
from services.kit.config import load_or_exit
from services.kit.contained import Workers
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.kit.operations import Operations
from services.kit.peers import authenticator, peer_client
from services.kit.server import Assembly

MIGRATIONS = Path(__file__).parent / "migrations"


async def assemble(config: DatanetConfig) -> Assembly:
    """The service of a configuration, its database brought up to date."""
    database = Database(config.database)
    await asyncio.to_thread(database.migrate, MIGRATIONS)
    return wire_up(config, database, peer_client(config, ledger=config.ledger))


def wire_up(config: DatanetConfig, database: Database, ledger: Client) -> Assembly:
    """The service over a database and a client of the ledger, both of which it closes at its end."""
    metrics = Metrics(config.service)
    operations = Operations(database, METADATA, config.service)
    background = Anchoring(
        database,
        operations,
        LedgerAnchors(ledger, config.anchor_wait_seconds),
        metrics.gauge("snapshots_unanchored", "Snapshots whose root is not on chain yet"),
        config.anchor_poll_seconds,
        config.anchor_backoff_seconds,
    )
    # A process a file: what one person's file may have done to its reader, another person's never meets.
    parsers = Workers(TASK_MODULE, at_once=config.parse_workers, memory=config.parse_memory_bytes, jobs=1)
    servicer = DatanetServicer(  # type: ignore[abstract]  # what nobody has built answers UNIMPLEMENTED by itself
        database,
        operations,
        background,
        Limits(config.max_record_bytes, config.max_upload_bytes, config.max_upload_records),
        Room(config.max_uploads_bytes),
        metrics.counter("records_total", "Records sent, by what became of them", "outcome"),
        Parsing(parsers, config.parse_seconds, files.Limits(config.max_record_bytes, records=config.max_file_records)),
        Room(config.max_files_bytes),
        config.max_file_bytes,
    )
    return Assembly(
        config=config,
        services={
            "openledger.datanet.v1.DatanetService": lambda s: datanet_pb2_grpc.add_DatanetServiceServicer_to_server(
                servicer, s
            ),
            "google.longrunning.Operations": lambda s: operations_pb2_grpc.add_OperationsServicer_to_server(
                operations, s
            ),
        },
        access=ACCESS,
        authenticator=authenticator(config, ledger),
        metrics=metrics,
        background={"anchoring": background.run},
        close=(ledger.__aexit__, parsers.close, database.close),
    )


def main() -> int:
    """Run it with the configuration of the environment."""
    return server.main(load_or_exit(DatanetConfig), assemble)


if __name__ == "__main__":
    raise SystemExit(main())
