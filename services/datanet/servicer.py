"""The whole servicer, put together of its parts.  Rules and tables are elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter

from openledger.datanet.v1 import datanet_pb2_grpc
from services.datanet import (
    servicer_confirmations,
    servicer_datanets,
    servicer_erasures,
    servicer_files,
    servicer_members,
    servicer_proofs,
    servicer_records,
    servicer_snapshots,
)
from services.datanet.answers import Answers
from services.datanet.comparing import Comparing
from services.datanet.erasing import Erasing
from services.datanet.liken import Likening
from services.datanet.parse import Parsing
from services.datanet.publish import Places
from services.datanet.publishing import Publishing
from services.datanet.screeners import Screeners
from services.datanet.servicer_confirmations import ConfirmationMethods
from services.datanet.servicer_datanets import DatanetMethods
from services.datanet.servicer_erasures import ErasureMethods
from services.datanet.servicer_files import FileMethods
from services.datanet.servicer_members import MemberMethods
from services.datanet.servicer_proofs import ProofMethods
from services.datanet.servicer_records import RecordMethods
from services.datanet.servicer_snapshots import SnapshotMethods
from services.datanet.store_use import Use
from services.datanet.upload import Limits, Room
from services.datanet.vault import Vault
from services.kit.auth import ACCOUNTS
from services.kit.database import Database
from services.kit.operations import Operations

ACCESS = {
    **servicer_confirmations.ACCESS,
    **servicer_datanets.ACCESS,
    **servicer_erasures.ACCESS,
    **servicer_files.ACCESS,
    **servicer_members.ACCESS,
    **servicer_proofs.ACCESS,
    **servicer_records.ACCESS,
    **servicer_snapshots.ACCESS,
    "GetOperation": ACCOUNTS,
    "WaitOperation": ACCOUNTS,
}


@dataclass(frozen=True)
class Quotas:
    """What an account may have: datanets, members in each of them, snapshots in 24 hours, records that it gave."""

    datanets: int
    members: int
    snapshots_a_day: int
    given: Use


class DatanetServicer(
    ConfirmationMethods,
    DatanetMethods,
    ErasureMethods,
    FileMethods,
    MemberMethods,
    ProofMethods,
    RecordMethods,
    SnapshotMethods,
    datanet_pb2_grpc.DatanetServiceServicer,
):
    """openledger.datanet.v1.DatanetService."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        operations: Operations,
        background: Publishing,
        erasing: Erasing,
        likening: Likening,
        places: Places,
        quotas: Quotas,
        limits: Limits,
        room: Room,
        screeners: Screeners,
        outcomes: Counter,
        parsing: Parsing,
        files: Room,
        max_file: int,
    ) -> None:
        answers, comparing = Answers(database), Comparing(database, vault, likening)
        ConfirmationMethods.__init__(self, answers, vault, quotas.given, screeners, operations, erasing, comparing)
        DatanetMethods.__init__(self, answers, quotas.datanets)
        ErasureMethods.__init__(self, answers, vault, operations, erasing)
        MemberMethods.__init__(self, answers, quotas.members)
        SnapshotMethods.__init__(self, answers, vault, operations, background, quotas.snapshots_a_day)
        ProofMethods.__init__(self, answers, places)
        RecordMethods.__init__(self, answers, vault, quotas.given, limits, room, screeners, outcomes, comparing)
        FileMethods.__init__(self, answers, parsing, files, max_file)
