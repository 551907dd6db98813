"""Puts the datanet service together and runs it: `python -m services.datanet`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from google.longrunning import operations_pb2_grpc

from openledger.artifacts import ArtifactStore
from openledger.client import Client
from openledger.datanet.v1 import datanet_pb2_grpc
from openledger.key_files import KeyFileError
from services.datanet.anchoring import Anchoring
from services.datanet.anchors import LedgerAnchors
from services.datanet.config import DatanetConfig
from services.datanet.erase_again import erase_again
from services.datanet.erased import ErasedList
from services.datanet.erasing import Eraser, Erasing
from services.datanet.files import limits as files
from services.datanet.files.parsed import TASK_MODULE
from services.datanet.liken import Likening
from services.datanet.parse import Parsing
from services.datanet.publish import Places
from services.datanet.publishing import Publisher, Publishing
from services.datanet.screeners import Screeners
from services.datanet.screening import LONGEST_ANSWER
from services.datanet.screening import TASK_MODULE as SCREENING
from services.datanet.seal_clear import seal_clear
from services.datanet.servicer import ACCESS, DatanetServicer, Quotas
from services.datanet.store import METADATA
from services.datanet.store_use import Use
from services.datanet.trainers import FactoryTrainers, NoTrainers
from services.datanet.upload import Limits, Room
from services.datanet.vault import Vault
from services.datanet.vault_key import open_vault
from services.datanet.wrap_again import wrap_again
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
    database, vault = await asyncio.to_thread(opened, config)
    return wire_up(config, database, vault, peer_client(config, ledger=config.ledger, **_factory(config)))


def _factory(config: DatanetConfig) -> dict[str, str]:
    return {"factory": config.factory} if config.factory else {}


def opened(config: DatanetConfig) -> tuple[Database, Vault]:
    """The database, up to date, in which nothing that records say is in clear, and the vault that opens it.

    Raises `StartError`.
    """
    database = Database(config.database, erases=True)
    try:
        database.migrate(MIGRATIONS)
        vault = open_vault(config.vault_key, database, config.shares)
        seal_clear(database, vault)
        wrap_again(database, vault)
        erase_again(database, vault, Operations(database, METADATA, config.service), ErasedList(config.erased))
    except KeyFileError as error:
        database.close()
        raise server.StartError(str(error)) from error
    return database, vault


def wire_up(config: DatanetConfig, database: Database, vault: Vault, peers: Client) -> Assembly:
    """The service over a database and a client of ledger and factory, both of which it closes at its end."""
    metrics = Metrics(config.service)
    operations = Operations(database, METADATA, config.service)
    anchoring = Anchoring(
        database,
        operations,
        LedgerAnchors(peers, config.anchor_wait_seconds),
        metrics.gauge("snapshots_unanchored", "Snapshots whose root is not on chain yet"),
        config.anchor_poll_seconds,
        config.anchor_backoff_seconds,
    )
    places = Places(ArtifactStore(config.artifacts_dir), ArtifactStore(config.snapshots))
    publisher = Publisher(database, places)
    publishing = Publishing(publisher, anchoring.wake, config.anchor_poll_seconds)
    trainers = FactoryTrainers(peers) if config.factory else NoTrainers()
    eraser = Eraser(database, vault, operations, trainers, ErasedList(config.erased))
    erasing = Erasing(
        eraser,
        metrics.gauge("erasures_undone", "Erased records whose keys could not be destroyed yet"),
        config.anchor_poll_seconds,
        config.anchor_backoff_seconds,
    )
    likening = Likening(
        database, vault, metrics.gauge("likeness_missing", "Records that no others are compared with yet")
    )
    # A process a file: what one person's file may have done to its reader, another person's never meets.
    parsers = Workers(TASK_MODULE, at_once=config.parse_workers, memory=config.parse_memory_bytes, jobs=1)
    # These live on from text to text: they take seconds to load their models.
    checkers = Workers(SCREENING, at_once=config.check_workers, memory=config.check_memory_bytes, answer=LONGEST_ANSWER)
    # What nobody has built of the API is open to nobody (ACCESS).
    servicer = DatanetServicer(  # type: ignore[abstract]
        database,
        vault,
        operations,
        publishing,
        erasing,
        likening,
        places,
        Quotas(
            config.max_datanets_per_owner,
            config.max_members,
            config.max_snapshots_a_day,
            Use(config.max_account_records, config.max_account_bytes),
        ),
        Limits(config.max_record_bytes, config.max_upload_bytes, config.max_upload_records),
        Room(config.max_uploads_bytes),
        Screeners(checkers, config.check_seconds),
        metrics.counter(
            "records_total", "Records sent, by what became of them: ACCEPTED, WAITING, or the reason why not", "outcome"
        ),
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
        authenticator=authenticator(config, peers),
        metrics=metrics,
        background={
            "anchoring": anchoring.run,
            "publishing": publishing.run,
            "erasing": erasing.run,
            "likening": likening.run,
        },
        close=(peers.__aexit__, parsers.close, checkers.close, database.close),
    )


def main() -> int:
    """Run it with the configuration of the environment."""
    return server.main(load_or_exit(DatanetConfig), assemble)


if __name__ == "__main__":
    raise SystemExit(main())
