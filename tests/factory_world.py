"""The world around the Factory, for its tests: a Datanet with a real snapshot, identity and a ledger, over real gRPC.

The snapshot's commitments and root are real (openledger/records.py), so what a test breaks is found as it would be.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.rpc.status_pb2 import Status

from openledger import records
from openledger.base_model_sources import file_sha256
from openledger.client import Wallet
from openledger.datanet.v1 import datanet_pb2, datanet_pb2_grpc
from openledger.identity.v1 import identity_pb2, identity_pb2_grpc
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from services.factory.config import FactoryConfig
from services.factory.source import SnapshotInfo, SourceRecord, SourceUnavailable
from services.kit.auth import PUBLIC, Authenticator, services
from services.kit.config import ServiceConfig
from services.kit.errors import not_found, precondition, unavailable
from services.kit.metrics import Metrics
from services.kit.server import Assembly
from services.kit.testing import SECRET, TestIssuer, served, settings

SNAPSHOT, SECOND = "datanets/letters/snapshots/1", "datanets/letters/snapshots/2"
BATCH = 7


def address(number: int) -> str:
    return f"0x{number:040x}"


def offer(file: Path, **bases: Path) -> None:
    """Write a registry of base models (OPENLEDGER_BASE_MODELS) with these folders, all under Apache-2.0."""
    tables = (
        f'[{name}]\nfolder = "{folder}"\nlicence = "Apache-2.0"\nrevision = "a test"\n'
        f'sha256 = "{file_sha256(folder / "model.safetensors")}"\n'
        for name, folder in bases.items()
    )
    file.write_text("\n".join(tables))


def snapshot_records(count: int, contributors: int, start: int = 0) -> list[SourceRecord]:
    """Records with one letter each to learn, dealt to the contributors in turn.

    start: how many of them the datanet had taken out again before the first one.
    """
    made = [replace(record, leaf=record.leaf - start) for record in _all_records(start + count, contributors)]
    return made[start:]


def _all_records(count: int, contributors: int) -> list[SourceRecord]:
    made = []
    for leaf in range(count):
        letter = "abcdefghijklmnopqrstuvwxyz"[leaf % 26]
        fields = {"question": f"letter {leaf}?", "answer": letter * 3}
        salt = hashlib.sha256(b"salt %d" % leaf).digest()
        name = f"datanets/letters/records/r{leaf:04d}"
        who = address(1 + leaf % contributors)
        leaf_hash = records.commitment(salt, records.canonical_bytes(who, fields, "a test"))
        made.append(SourceRecord(leaf, name, who, fields, "a test", salt, commitment=leaf_hash))
    return made


def root_of(made: list[SourceRecord]) -> str:
    """Hex root of a snapshot of these records."""
    bodies = (records.canonical_bytes(r.contributor, r.fields, r.source) for r in made)
    return records.snapshot_root([records.commitment(r.salt, b) for r, b in zip(made, bodies, strict=True)]).hex()


@dataclass
class Datanet(datanet_pb2_grpc.DatanetServiceServicer):
    """A Datanet with one snapshot or more, and the ways in which it can misbehave."""

    records: list[SourceRecord]
    others: dict[str, list[SourceRecord]] = field(default_factory=dict)
    """The records of further snapshots, by name."""
    licences: dict[str, str] = field(default_factory=dict)
    """By snapshot; CC-BY-4.0 where nothing is said."""
    anchored: bool = True
    break_after: list[int] = field(default_factory=list)
    """Leaves sent before each of the next streams breaks."""
    away: bool = False
    starts: list[int] = field(default_factory=list)
    """Where each stream was asked to start."""

    def __post_init__(self) -> None:
        self.root = root_of(self.records)
        self.other_roots = {name: root_of(made) for name, made in self.others.items()}

    def root_at(self, snapshot: str) -> str:
        return self.root if snapshot == SNAPSHOT else self.other_roots[snapshot]

    def made(self, snapshot: str) -> list[SourceRecord]:
        return self.records if snapshot == SNAPSHOT else self.others[snapshot]

    def corrupt(self, leaf: int, **changes: Any) -> None:
        """Change a record after the snapshot was frozen."""
        self.records[leaf] = replace(self.records[leaf], **changes)

    def erase(self, leaf: int) -> str:
        """Only a tombstone stays of a record: no fields, no salt.  Returns its name."""
        self.corrupt(leaf, fields={}, source="", salt=b"")
        return self.records[leaf].name

    def corrupt_name(self, snapshot: str, leaf: int, name: str) -> None:
        """Give a record another name, which its snapshot's root does not cover."""
        self.made(snapshot)[leaf] = replace(self.made(snapshot)[leaf], name=name)

    async def GetDatanet(self, request: Any, context: Any) -> Any:
        fields = [datanet_pb2.Field(id="question"), datanet_pb2.Field(id="answer")]
        return datanet_pb2.Datanet(name=request.name, fields=fields, licence="CC-BY-4.0", licence_notice="ask Anne")

    async def GetSnapshot(self, request: Any, context: Any) -> Any:
        if self.away:
            raise unavailable("AWAY", "the Datanet is being restarted", 1)
        if request.name != SNAPSHOT and request.name not in self.others:
            raise not_found("SNAPSHOT_NOT_FOUND", f"there is no {request.name}")
        anchor = datanet_pb2.Anchor(chain_id=1, transaction="0x01") if self.anchored else None
        return datanet_pb2.Snapshot(
            name=request.name,
            root=bytes.fromhex(self.root_at(request.name)),
            record_count=len(self.made(request.name)),
            licence=self.licences.get(request.name, "CC-BY-4.0"),
            anchor=anchor,
        )

    async def ReadSnapshot(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        self.starts.append(request.start)
        stop = self.break_after.pop(0) if self.break_after else None
        made = self.made(request.name)
        for start in range(request.start, len(made), BATCH):
            batch = made[start : start + BATCH]
            if self.away or (stop is not None and start + len(batch) > stop):
                raise unavailable("AWAY", "the Datanet is being restarted", 1)
            yield datanet_pb2.ReadSnapshotResponse(
                records=[
                    datanet_pb2.SnapshotRecord(
                        leaf=r.leaf,
                        record=r.name,
                        contributor=f"accounts/{r.contributor}",
                        fields=r.fields,
                        source=r.source,
                        salt=r.salt,
                        commitment=r.commitment,
                    )
                    for r in batch
                ]
            )


class ListSource:
    """The port itself over a list, for tests without a wire."""

    def __init__(self, made: list[SourceRecord], breaks: list[int] | None = None) -> None:
        """breaks: records given before each of the next streams breaks."""
        self.made, self.breaks, self.starts = made, list(breaks or []), list[int]()
        self.info = SnapshotInfo(SNAPSHOT, root_of(made), len(made), "CC0-1.0", True, frozenset({"question", "answer"}))
        self.others: dict[str, list[SourceRecord]] = {}
        """The records of further snapshots, by name."""
        self.trouble: Exception | None = None

    async def describe(self, name: str) -> SnapshotInfo:
        if self.trouble:
            raise self.trouble
        other = self.others.get(name)
        return self.info if other is None else replace(self.info, name=name, root=root_of(other), records=len(other))

    async def records(self, name: str, start: int) -> AsyncIterator[SourceRecord]:
        self.starts.append(start)
        if self.trouble:
            raise self.trouble
        stop = self.breaks.pop(0) if self.breaks else None
        for record in self.others.get(name, self.made)[start:]:
            if record.leaf == stop:
                raise SourceUnavailable("the line broke")
            yield record


@dataclass
class Ledger(ledger_pb2_grpc.LedgerServiceServicer, operations_pb2_grpc.OperationsServicer):
    """Registers revisions as the real one does: once by digest, one answer a request id; misbehaves as told."""

    away: bool = False
    slow: bool = False
    """Operations do not end while this is so."""
    refuses: int = 0
    """So many registrations yet fail on chain."""
    asked: list[ledger_pb2.RegisterRevisionRequest] = field(default_factory=list)
    registered: dict[str, ledger_pb2.RegisterRevisionRequest] = field(default_factory=dict)
    """By the operation's name, in order."""
    _answers: dict[str, str] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)

    async def RegisterRevision(self, request: Any, context: Any) -> Any:
        if self.away:
            raise unavailable("AWAY", "the ledger is being restarted", 1)
        self.asked.append(request)
        name = self._answers.setdefault(request.request_id, f"operations/register-{request.revision[-64:]}")
        if self.refuses and request.request_id not in self._failed:
            self.refuses -= 1
            name = self._answers[request.request_id] = f"operations/failed-{len(self.asked)}"
            self._failed.add(request.request_id)
        if "failed" not in name:
            self.registered.setdefault(name, request)
        return operations_pb2.Operation(name=name)

    async def WaitOperation(self, request: Any, context: Any) -> Any:
        if self.away:
            raise unavailable("AWAY", "the ledger is being restarted", 1)
        operation = operations_pb2.Operation(name=request.name, done=not self.slow)
        if "failed" in request.name:
            fault = precondition("REGISTRATION_REFUSED", "the registry does not take it")
            operation.error.CopyFrom(Status.FromString(fault.to_status("ledger").SerializeToString()))
        elif operation.done:
            operation.response.Pack(self.registration(request.name))
        return operation

    def registration(self, name: str) -> ledger_pb2.ModelRegistration:
        """What the operation of that name answers."""
        asked, block = self.registered[name], list(self.registered).index(name) + 1
        transaction = "0x" + hashlib.sha256(asked.revision.encode()).hexdigest()
        return ledger_pb2.ModelRegistration(
            revision=asked.revision, chain_id=31337, contract="0x" + "c" * 40, transaction=transaction, block=block
        )


class _Identity(identity_pb2_grpc.IdentityServiceServicer):
    def __init__(self, issuer: TestIssuer) -> None:
        self._issuer = issuer

    async def ListKeys(self, request: Any, context: Any) -> Any:
        return identity_pb2.ListKeysResponse(jwks=self._issuer.jwks)


class _WorldConfig(ServiceConfig):
    service: ClassVar[str] = "world"


@dataclass
class World:
    """host:port of both services, who issues sessions, and the Datanet to play with."""

    address: str
    issuer: TestIssuer
    datanet: Datanet
    key_file: Path
    ledger: Ledger

    def config(self, folder: Path, *bases: str, **more: Any) -> FactoryConfig:
        """A Factory that lives in this world with its files under `folder`; all of a world sign with one key."""
        peers = {"datanet": self.address, "ledger": self.address}
        signing = {"signing_key_file": self.key_file}
        quick = {"register_backoff_seconds": 0.2, "register_wait_seconds": 5.0}
        given = peers | quick | signing | more
        return FactoryConfig(**settings("factory", folder, bases=bases, threads=1, **given))

    def client(self, wallet: Wallet, factory: str) -> Any:
        return self.issuer.client(wallet, factory=factory)


@asynccontextmanager
async def world(folder: Path, datanet: Datanet) -> AsyncIterator[World]:
    """The services, serving until left."""
    issuer = TestIssuer()

    async def no_keys() -> str:
        return issuer.jwks

    identity, ledger = _Identity(issuer), Ledger()
    factory_alone = services("factory")
    assembly = Assembly(
        config=_WorldConfig(**settings("world", folder)),
        services={
            "openledger.datanet.v1.DatanetService": lambda s: datanet_pb2_grpc.add_DatanetServiceServicer_to_server(
                datanet, s
            ),
            "openledger.identity.v1.IdentityService": lambda s: identity_pb2_grpc.add_IdentityServiceServicer_to_server(
                identity, s
            ),
            "openledger.ledger.v1.LedgerService": lambda s: ledger_pb2_grpc.add_LedgerServiceServicer_to_server(
                ledger, s
            ),
            "google.longrunning.Operations": lambda s: operations_pb2_grpc.add_OperationsServicer_to_server(ledger, s),
        },
        access={
            "GetDatanet": factory_alone,
            "GetSnapshot": factory_alone,
            "ReadSnapshot": factory_alone,
            "RegisterRevision": factory_alone,
            "WaitOperation": factory_alone,
            "ListKeys": PUBLIC,
        },
        authenticator=Authenticator(SECRET, no_keys),
        metrics=Metrics("world"),
    )
    async with served(assembly) as where:
        yield World(where, issuer, datanet, folder / "factory.key", ledger)
