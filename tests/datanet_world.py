"""The world around the Datanet, for its tests: a ledger with sessions and anchors over real gRPC; people who give."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from prometheus_client import CollectorRegistry

from openledger import records, signing
from openledger.client import ApiError, Client, Wallet
from openledger.datanet.v1 import datanet_pb2 as pb
from openledger.factory.v1 import factory_pb2, factory_pb2_grpc
from openledger.identity.v1 import identity_pb2, identity_pb2_grpc
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from services.datanet.__main__ import opened, wire_up
from services.datanet.config import DatanetConfig
from services.kit.auth import PUBLIC, Authenticator, services
from services.kit.config import ServiceConfig
from services.kit.database import Database
from services.kit.errors import precondition, unavailable
from services.kit.metrics import Metrics
from services.kit.peers import peer_client
from services.kit.server import Assembly
from services.kit.testing import SECRET, TestIssuer, served, settings

PRIVATE, BY_REQUEST = pb.VISIBILITY_PRIVATE, pb.VISIBILITY_BY_REQUEST
LICENCE = "CC-BY-4.0"
DATANET, SNAPSHOT = "datanets/terms", "datanets/terms/snapshots/1"
ADA, BOB, CLEO, OWNER = (Wallet("0x" + f"{i:02x}" * 32) for i in (17, 34, 51, 68))


class LedgerConfig(ServiceConfig):
    service: ClassVar[str] = "ledger"


@dataclass
class Ledger(
    ledger_pb2_grpc.LedgerServiceServicer,
    identity_pb2_grpc.IdentityServiceServicer,
    operations_pb2_grpc.OperationsServicer,
):
    """Issues keys, anchors snapshots; misbehaves as told."""

    issuer: TestIssuer = field(default_factory=TestIssuer)
    away: bool = False
    slow: bool = False
    """Operations do not end while this is so."""
    refuses: int = 0
    """So many requests yet are refused for good."""
    seen: list[ledger_pb2.AnchorSnapshotRequest] = field(default_factory=list)

    async def ListKeys(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return identity_pb2.ListKeysResponse(jwks=self.issuer.jwks)

    async def AnchorSnapshot(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        if self.away:
            raise unavailable("CHAIN_AWAY", "the chain cannot be reached", retry_after=1)
        self.seen.append(request)
        if self.refuses:
            self.refuses -= 1
            raise precondition("NO_GAS", "the ledger's account is empty")
        return self._operation(request.request_id)

    async def WaitOperation(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return self._operation(request.name.removeprefix("operations/anchor-"))

    def _operation(self, request_id: str) -> Any:
        operation = operations_pb2.Operation(name=f"operations/anchor-{request_id}", done=not self.slow)
        if operation.done:
            asked = next(r for r in self.seen if r.request_id == request_id)
            transaction = "0x" + hashlib.sha256(asked.snapshot.encode() + asked.root).hexdigest()
            operation.response.Pack(
                ledger_pb2.Anchoring(
                    snapshot=asked.snapshot, chain_id=31337, contract="0x" + "c" * 40, transaction=transaction, block=9
                )
            )
        return operation


@asynccontextmanager
async def serve_ledger(ledger: Ledger, folder: Path) -> AsyncIterator[str]:
    """The ledger's host:port."""

    async def keys() -> str:
        return ledger.issuer.jwks

    assembly = Assembly(
        config=LedgerConfig(**settings("ledger", folder)),
        services={
            "ledger": lambda s: ledger_pb2_grpc.add_LedgerServiceServicer_to_server(ledger, s),
            "identity": lambda s: identity_pb2_grpc.add_IdentityServiceServicer_to_server(ledger, s),
            "operations": lambda s: operations_pb2_grpc.add_OperationsServicer_to_server(ledger, s),
        },
        access={"ListKeys": PUBLIC, "AnchorSnapshot": services("datanet"), "WaitOperation": services("datanet")},
        authenticator=Authenticator(SECRET, keys),
        metrics=Metrics("ledger"),
    )
    async with served(assembly) as where:
        yield where


class FactoryConfig(ServiceConfig):
    service: ClassVar[str] = "factory"


@dataclass
class Factory(factory_pb2_grpc.FactoryServiceServicer):
    """Knows which revisions were trained on which records; is away as told."""

    trained: dict[str, list[str]] = field(default_factory=dict)
    away: bool = False
    slow: asyncio.Event | None = None
    """Answers when this is set."""
    told: list[factory_pb2.FlagAdapterRevisionRequest] = field(default_factory=list)

    async def FlagAdapterRevision(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        if self.away:
            raise unavailable("AWAY", "the Factory is being restarted", retry_after=1)
        if self.slow is not None:
            await self.slow.wait()
        self.told.append(request)
        found = [factory_pb2.AdapterRevision(name=name) for name in self.trained.get(request.record, ())]
        return factory_pb2.FlagAdapterRevisionResponse(adapter_revisions=found)


@asynccontextmanager
async def serve_factory(factory: Factory, ledger: Ledger, folder: Path) -> AsyncIterator[str]:
    """The factory's host:port."""

    async def keys() -> str:
        return ledger.issuer.jwks

    assembly = Assembly(
        config=FactoryConfig(**settings("factory", folder)),
        services={"factory": lambda s: factory_pb2_grpc.add_FactoryServiceServicer_to_server(factory, s)},
        access={"FlagAdapterRevision": services("datanet")},
        authenticator=Authenticator(SECRET, keys),
        metrics=Metrics("factory"),
    )
    async with served(assembly) as where:
        yield where


@dataclass
class World:
    """A Datanet that runs, and its ledger."""

    ledger: Ledger
    where: str
    database: Database
    metrics: CollectorRegistry

    def as_(self, wallet: Wallet) -> Client:
        """A client with that wallet's session."""
        return self.ledger.issuer.client(wallet, datanet=self.where)


@asynccontextmanager
async def world(folder: Path, ledger: Ledger, ledger_at: str, **more: Any) -> AsyncIterator[World]:
    """The Datanet, serving; started again on the same folder it goes on where it was."""
    quick = {"anchor_poll_seconds": 0.05, "anchor_backoff_seconds": 0.2}
    config = DatanetConfig(**settings("datanet", folder, ledger=ledger_at, **(quick | more)))
    database, vault = opened(config)
    factory = {"factory": config.factory} if config.factory else {}
    assembly = wire_up(config, database, vault, peer_client(config, ledger=ledger_at, **factory))
    async with served(assembly) as where:
        yield World(ledger, where, database, assembly.metrics.registry)


def new_id() -> str:
    return str(uuid.uuid4())


def upload(
    giver: Wallet,
    texts: Sequence[str],
    request_id: str = "",
    *,
    datanet: str = DATANET,
    licence: str = LICENCE,
    signer: Wallet | None = None,
    field_id: str = "text",
) -> list[pb.ContributeRecordsRequest]:
    """The messages of an upload: its header, then its records."""
    request_id = request_id or new_id()
    root = records.content_root([records.canonical_bytes(giver.address, {field_id: text}) for text in texts])
    typed = signing.declaration(datanet, giver.address, root, len(texts), licence, signing.STATEMENT, request_id)
    declaration = pb.Declaration(
        contributor=giver.account,
        content_root=root,
        record_count=len(texts),
        licence=licence,
        statement=signing.STATEMENT,
        signature=(signer or giver).sign(typed),
    )
    header = pb.ContributionHeader(datanet=datanet, declaration=declaration, request_id=request_id)
    inputs = (pb.RecordInput(fields={field_id: text}) for text in texts)
    return [
        pb.ContributeRecordsRequest(header=header),
        *(pb.ContributeRecordsRequest(record=record) for record in inputs),
    ]


async def send(client: Client, messages: Sequence[Any]) -> pb.ContributeRecordsResponse:
    """One upload's answer."""

    async def stream() -> AsyncIterator[Any]:
        for message in messages:
            yield message

    answer: pb.ContributeRecordsResponse = await client.call(client.datanet.ContributeRecords, stream())
    return answer


async def open_datanet(client: Client, datanet_id: str = "terms", **more: Any) -> pb.Datanet:
    """A datanet of records with one field, `text`."""
    described: dict[str, Any] = {"display_name": datanet_id.title(), "licence": LICENCE} | more
    request = pb.CreateDatanetRequest(datanet=pb.Datanet(**described), datanet_id=datanet_id, request_id=new_id())
    made: pb.Datanet = await client.call(client.datanet.CreateDatanet, request)
    return made


async def refused(call: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def give(here: World, wallet: Wallet, *texts: str, **more: Any) -> pb.ContributeRecordsResponse:
    async with here.as_(wallet) as client:
        return await send(client, upload(wallet, texts, **more))


async def give_badly(here: World, caller: Wallet, messages: list[Any]) -> ApiError:
    async with here.as_(caller) as client:
        return await refused(send(client, messages))


async def listed(here: World, wallet: Wallet, **more: Any) -> list[pb.Record]:
    async with here.as_(wallet) as client:
        page = await client.call(client.datanet.ListRecords, pb.ListRecordsRequest(parent=DATANET, **more))
        return list(page.records)


async def begin_snapshot(client: Client, request_id: str = "") -> operations_pb2.Operation:
    request = pb.CreateSnapshotRequest(parent=DATANET, request_id=request_id or new_id())
    return await client.call(client.datanet.CreateSnapshot, request)


async def cut(client: Client) -> pb.Snapshot:
    return await client.wait("datanet", await begin_snapshot(client), pb.Snapshot, 20)


async def begin_erasing(client: Client, record: str, reason: str = "", request_id: str = "") -> Any:
    request = pb.EraseRecordRequest(name=record, reason=reason, request_id=request_id or new_id())
    return await client.call(client.datanet.EraseRecord, request)


async def erase(client: Client, record: str, reason: str = "") -> pb.ErasedRecord:
    return await client.wait("datanet", await begin_erasing(client, record, reason), pb.ErasedRecord, 20)


async def withdraw(client: Client, record: str, reason: str = "", request_id: str = "") -> pb.Record:
    request = pb.WithdrawRecordRequest(name=record, reason=reason, request_id=request_id or new_id())
    answer: pb.Record = await client.call(client.datanet.WithdrawRecord, request)
    return answer


async def read(client: Client, start: int = 0) -> list[list[pb.SnapshotRecord]]:
    request = pb.ReadSnapshotRequest(name=SNAPSHOT, start=start)
    return [list(batch.records) async for batch in client.stream(client.datanet.ReadSnapshot, request)]


async def phase(client: Client, where: str, operation: str, wanted: str) -> None:
    """Wait until an operation says that it is in this phase."""
    async with grpc.aio.insecure_channel(where) as channel:
        stub = operations_pb2_grpc.OperationsStub(channel)
        progress = pb.SnapshotProgress()
        for _ in range(200):
            found = await client.call(stub.GetOperation, operations_pb2.GetOperationRequest(name=operation))
            found.metadata.Unpack(progress)
            if progress.phase == wanted:
                return
            await asyncio.sleep(0.05)
    raise AssertionError(f"{operation} stays at {progress.phase!r}")
