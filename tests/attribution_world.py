"""What Attribution needs around it, in the test's process: a published adapter, OpenLoRA's traces, the ledger's terms.

The peers are real gRPC servers that say what the test tells them to; model, adapter and index are real.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest

from openledger import manifest, trace_proto
from openledger.adapters import RECORD_SKETCHES, SPAN_INDEX, TRAINING, read_manifest
from openledger.artifacts import ArtifactStore
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.client import ApiError, Client, Wallet
from openledger.factory.v1 import factory_pb2, factory_pb2_grpc
from openledger.identity.v1 import identity_pb2, identity_pb2_grpc
from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from openledger.manifest import LineageManifest
from openledger.money import Price
from openledger.openlora.v1 import openlora_pb2, openlora_pb2_grpc
from openledger.spans.build import Document, build
from openledger.split import Rule
from openledger.trace import Trace
from services.attribution.__main__ import assemble
from services.attribution.config import AttributionConfig
from services.factory import data, sketches, write
from services.kit.auth import PUBLIC, Authenticator, services
from services.kit.config import ServiceConfig
from services.kit.errors import Fault, not_found, precondition, unavailable
from services.kit.metrics import Metrics
from services.kit.server import Assembly
from services.kit.testing import SECRET, TestIssuer, served, settings
from tests import published, tiny_model
from tests.published import Published

PAYER, OPERATOR, STRANGER = (Wallet("0x" + digit * 64) for digit in "123")
PLATFORM = "0x" + "f" * 40
RULE = Rule(noise_z_milli=0)
PIECE = 500


@dataclass(frozen=True)
class Artifacts:
    """A published adapter of a tiny model, and the tokens of a question and its answer."""

    folder: Path
    adapter: Published
    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    @classmethod
    def make(cls, folder: Path) -> Artifacts:
        base = tiny_model.make(folder / "base", layers=3, width=32, context=128)
        adapter = published.publish(ArtifactStore(folder / "artifacts"), base, folder / "new")
        tokenizer = data.load_tokenizer(base)
        completion = tokenizer("It is 2, says 1.", add_special_tokens=False)["input_ids"]
        prompt = data.prompt_ids("1 times 2?", tokenizer)
        return cls(folder / "artifacts", adapter, prompt, (*completion, tokenizer.eos_token_id))

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.folder)

    @property
    def lineage(self) -> LineageManifest:
        return read_manifest(self.store, self.adapter.revision.rpartition("/")[2])

    def with_spans(self, number: int = 0, salt: bytes = bytes(32)) -> tuple[str, bytes]:
        """Publish another revision of the same adapter that has a span index; its name, and the index."""
        tokenizer = data.load_tokenizer(self.adapter.base)
        training = (self.adapter.folder / TRAINING).read_bytes()
        documents, owners = [], sorted(self.lineage.contributors)
        for place, (record, contributor) in enumerate(json.loads(training)["records"]):
            who, n = map(int, record.removeprefix("r").split("-"))
            tokens = tokenizer(published.completion(who, n), add_special_tokens=False)["input_ids"]
            documents.append(Document(owners.index(contributor), place, tokens))
        index = build(documents, owners=len(owners), salt=salt)
        return self._with(number, {SPAN_INDEX: index}), index

    def with_sketches(self, changed: bytes | None = None) -> tuple[str, bytes, bytes]:
        """Publish one that has record sketches too; its name, its span index, and the sketches.

        changed: what it says are its sketches, in place of those that are.
        """
        _, index = self.with_spans()
        found = record_sketches(self.adapter) if changed is None else changed
        return self._with(0, {SPAN_INDEX: index, RECORD_SKETCHES: found}), index, found

    def _with(self, number: int, private: dict[str, bytes]) -> str:
        terms = {"licence": "CC-BY-4.0", "use": "commercial", "code": f"openledger {number}"}
        files = {**self.lineage.files, TRAINING: self.store.put((self.adapter.folder / TRAINING).read_bytes())}
        named = {name: hashlib.sha256(file).hexdigest() for name, file in private.items()}
        lineage = manifest.sign(replace(self.lineage, files=files, private_files=named, **terms), "0x" + "44" * 32)
        self.store.put(lineage.to_bytes())
        return lineage.revision

    def salted(self, number: int, **changes: Any) -> Trace:
        """The same as OpenLoRA makes it: with a price and a salt."""
        trace, price = self.trace(number, **changes), Price(2 * 10**17, 10**18, 10**15)
        fee = price.fee(len(trace.prompt_token_ids), len(trace.completion_token_ids))
        return replace(trace, price=price, platform_fee=price.platform_fee, fee=fee, salt=f"{number:064x}")

    def copy(self, folder: Path) -> Artifacts:
        """The same in a folder of its own, which a test may change."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)

    def trace(self, number: int, **changes: Any) -> Trace:
        """The answer responses/r{number}."""
        trace = Trace(
            response=f"responses/r{number}",
            base="tiny",
            base_sha256=self.adapter.base_sha256,
            adapter=self.adapter.revision,
            prompt_token_ids=self.prompt,
            completion_token_ids=self.completion,
            sampling={"max_tokens": 64, "temperature": "0"},
            finish_reason="stop",
            payer=PAYER.account,
            lease="leases/7",
            fee=10**18 + number,
            platform_fee=10**15,
            start_time="2026-01-02T03:04:05.000000Z",
            end_time="2026-01-02T03:04:06.000000Z",
            engine="none",
        )
        return replace(trace, **changes)


@cache
def record_sketches(adapter: Published) -> bytes:
    """Of the records that it was trained on, as the Factory makes them."""
    tokenizer, training = data.load_tokenizer(adapter.base), []
    for record, contributor in json.loads((adapter.folder / TRAINING).read_bytes())["records"]:
        who, n = map(int, record.removeprefix("r").split("-"))
        said = tokenizer(published.completion(who, n), add_special_tokens=False)["input_ids"]
        asked = data.prompt_ids(published.prompt(who, n), tokenizer)
        training.append(data.Example(record, contributor, asked, (*said, tokenizer.eos_token_id)))
    moment = write.second_moment(adapter.folder).numpy()
    end = sketches.End(Decoder.load(adapter.base), Adapter.load(adapter.folder), moment, training)
    file = adapter.folder.with_name("sketches")
    sketches.write(file, end, "ab" * 32, adapter.folder.with_name("rows"), lambda *_: None)
    return file.read_bytes()


class PeersConfig(ServiceConfig):
    service: ClassVar[str] = "peers"


@dataclass
class Peers(
    openlora_pb2_grpc.OpenLoRAServiceServicer,
    factory_pb2_grpc.FactoryServiceServicer,
    ledger_pb2_grpc.LedgerServiceServicer,
    identity_pb2_grpc.IdentityServiceServicer,
):
    """OpenLoRA, the Factory and the ledger, as far as Attribution asks them."""

    messages: list[openlora_pb2.Trace] = field(default_factory=list)
    epoch: str = "first"
    replica: str = ""
    scramble: bool = False
    """Whether traces come in the wrong order."""
    gone: int = 0
    """How many of the first traces the log has let go."""
    rule: Rule = RULE
    rule_sha256: str = ""
    registered: tuple[int, int, int] | None = None
    """Since when every revision is registered (Unix seconds), and with which parts for developer and stakers."""
    issuer: TestIssuer = field(default_factory=TestIssuer)
    reads: list[int] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    """With each read: up to where everything has taken effect, it says."""
    private: dict[str, bytes] = field(default_factory=dict)
    """The span index of each revision that has one."""
    sketches: dict[str, bytes] = field(default_factory=dict)
    """Likewise."""
    flagged: set[str] = field(default_factory=set)
    """Revisions of which a record is erased."""
    breaks: list[int] = field(default_factory=list)
    """Bytes after which each of the next transfers breaks."""
    pace: float = 0.0
    """Seconds between two messages of a transfer."""
    offsets: list[int] = field(default_factory=list)
    """From where on each transfer was asked for."""
    asked: list[str] = field(default_factory=list)
    """Which file."""

    def add(self, *traces: Trace | openlora_pb2.Trace) -> None:
        """Append to the trace log."""
        self.messages += [trace_proto.to_proto(t) if isinstance(t, Trace) else t for t in traces]

    async def ReadTraces(self, request: openlora_pb2.ReadTracesRequest, context: Any) -> Any:
        after, deadline = request.after_offset, asyncio.get_running_loop().time() + request.wait_seconds
        self.reads.append(after)
        self.acknowledged.append(request.acknowledged_offset)
        if request.log_epoch != self.epoch:
            return openlora_pb2.ReadTracesResponse(high_watermark=len(self.messages), log_epoch=self.epoch)
        if after < self.gone:
            raise Fault(grpc.StatusCode.OUT_OF_RANGE, "OFFSET_COMPACTED", f"what came after {after} was removed")
        while len(self.messages) <= after and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        page = list(enumerate(self.messages[after : after + request.max_entries], start=after + 1))
        return openlora_pb2.ReadTracesResponse(
            entries=[
                openlora_pb2.TraceEntry(offset=offset, trace=message)
                for offset, message in (page[::-1] if self.scramble else page)
            ],
            high_watermark=len(self.messages),
            log_epoch=self.epoch,
        )

    async def GetReplica(self, request: openlora_pb2.GetReplicaRequest, context: Any) -> Any:
        return openlora_pb2.Replica(name=self.replica, log_epoch=self.epoch)

    async def ReadPrivateFile(self, request: factory_pb2.ReadPrivateFileRequest, context: Any) -> AsyncIterator[Any]:
        self.offsets.append(request.offset)
        self.asked.append(request.file)
        if request.revision in self.flagged:
            raise precondition("PRIVATE_FILE_ERASED", "a record is erased")
        files = self.sketches if request.file == RECORD_SKETCHES else self.private
        whole, place = files[request.revision], request.offset
        stop = self.breaks.pop(0) if self.breaks else len(whole) + PIECE
        while place == request.offset or place < len(whole):
            if place >= stop:
                raise unavailable("AWAY", "the Factory is being restarted", 1)
            yield factory_pb2.ReadPrivateFileResponse(size=len(whole), data=whole[place : place + PIECE])
            place += PIECE
            await asyncio.sleep(self.pace)

    async def GetAdapterRevision(self, request: factory_pb2.GetAdapterRevisionRequest, context: Any) -> Any:
        if request.name not in self.private:
            raise not_found("REVISION_NOT_FOUND", f"there is no published {request.name}")
        flagged, published = factory_pb2.ADAPTER_REVISION_STATE_FLAGGED, factory_pb2.ADAPTER_REVISION_STATE_PUBLISHED
        return factory_pb2.AdapterRevision(
            name=request.name, state=flagged if request.name in self.flagged else published
        )

    async def GetSettlementInfo(self, request: ledger_pb2.GetSettlementInfoRequest, context: Any) -> Any:
        rule = ledger_pb2.SplitRule(**self.rule.to_json(), sha256=self.rule_sha256 or self.rule.digest())
        return ledger_pb2.SettlementInfo(chain_id=1, rule=rule, platform=f"accounts/{PLATFORM}")

    async def GetSplit(self, request: ledger_pb2.GetSplitRequest, context: Any) -> Any:
        start, developer, stakers = None, self.rule.developer_bps, self.rule.stakers_bps
        registered = self.registered
        if registered is not None and request.time.ToSeconds() >= registered[0]:
            start, developer, stakers = registered
        split = ledger_pb2.RevisionSplit(
            developer_bps=developer, stakers_bps=stakers, contributors_bps=10_000 - developer - stakers
        )
        told = ledger_pb2.SplitVersion(revision=request.revision, split=split)
        if start is not None:
            told.start_time.FromSeconds(start)
        elif registered is not None:
            told.end_time.FromSeconds(registered[0])
        return told

    async def ListKeys(self, request: identity_pb2.ListKeysRequest, context: Any) -> Any:
        return identity_pb2.ListKeysResponse(jwks=self.issuer.jwks)

    def assembly(self, folder: Path, listen: str = "127.0.0.1:0") -> Assembly:
        async def keys() -> str:
            return self.issuer.jwks

        return Assembly(
            config=PeersConfig(**settings("peers", folder) | {"listen": listen}),
            services={
                "openledger.openlora.v1.OpenLoRAService": lambda s: (
                    openlora_pb2_grpc.add_OpenLoRAServiceServicer_to_server(self, s)
                ),
                "openledger.factory.v1.FactoryService": lambda s: factory_pb2_grpc.add_FactoryServiceServicer_to_server(
                    self, s
                ),
                "openledger.ledger.v1.LedgerService": lambda s: ledger_pb2_grpc.add_LedgerServiceServicer_to_server(
                    self, s
                ),
                "openledger.identity.v1.IdentityService": lambda s: (
                    identity_pb2_grpc.add_IdentityServiceServicer_to_server(self, s)
                ),
            },
            access={
                "ReadTraces": services("attribution"),
                "GetReplica": services("attribution"),
                "ReadPrivateFile": services("attribution"),
                "GetAdapterRevision": PUBLIC,
                "GetSettlementInfo": PUBLIC,
                "GetSplit": PUBLIC,
                "ListKeys": PUBLIC,
            },
            authenticator=Authenticator(SECRET, keys),
            metrics=Metrics("peers"),
        )


@dataclass
class World:
    """Peers, serving at `where`, and the artifacts."""

    peers: Peers
    where: str
    artifacts: Artifacts
    folder: Path

    def config(self, **more: Any) -> AttributionConfig:
        values = settings(
            "attribution",
            self.folder,
            openlora=self.where,
            factory=self.where,
            ledger=self.where,
            base=str(self.artifacts.adapter.base),
            operators=(OPERATOR.address,),
            terms_seconds=0.2,
            wait_seconds=0.5,
            trace_days=36_500,  # answers are of another day than the machine's clock shows
        )
        return AttributionConfig(**values | {"artifacts_dir": self.artifacts.folder} | more)

    def client(self, wallet: Wallet, attribution: str) -> Client:
        return self.peers.issuer.client(wallet, attribution=attribution)


@asynccontextmanager
async def world(folder: Path, artifacts: Artifacts) -> AsyncIterator[World]:
    peers = Peers()
    async with served(peers.assembly(folder)) as where:
        yield World(peers, where, artifacts, folder)


@asynccontextmanager
async def attribution(around: World, **more: object):
    """The service in this process; gives its address and its assembly."""
    assembly = await assemble(around.config(**more))
    async with served(assembly) as where:
        yield where, assembly


async def read(client: Client, count: int, after: int = 0, seconds: float = 20) -> list[pb.ReceiptEntry]:
    """Receipts after an offset, once there are `count`, read page by page as the ledger does."""
    entries: list[pb.ReceiptEntry] = []
    async with asyncio.timeout(seconds):
        while len(entries) < count:
            after = entries[-1].offset if entries else after
            request = pb.ReadReceiptsRequest(after_offset=after, max_entries=3, wait_seconds=1)
            entries += (await client.call(client.attribution.ReadReceipts, request)).entries
    return entries


def counted(assembly: Assembly, metric: str) -> dict[str, float]:
    """A counter's values by its label."""
    samples = [sample for family in assembly.metrics.registry.collect() for sample in family.samples]
    return {next(iter(s.labels.values()), ""): s.value for s in samples if s.name == f"openledger_attribution_{metric}"}


async def stumbled(assembly: Assembly) -> None:
    """Returns once the reading of traces has failed, as a metric tells its operators."""
    async with asyncio.timeout(10):
        while not counted(assembly, "background_failures_total"):
            await asyncio.sleep(0.05)


async def dead_letters(around: World, where: str, count: int) -> dict[str, pb.DeadLetter]:
    """By id of the response, once there are `count`."""
    async with around.client(OPERATOR, where) as client, asyncio.timeout(20):
        while True:
            reply = await client.call(client.attribution.ListDeadLetters, pb.ListDeadLettersRequest())
            if len(reply.dead_letters) >= count:
                return {letter.name.removeprefix("deadLetters/"): letter for letter in reply.dead_letters}
            await asyncio.sleep(0.05)


async def get(around: World, who: Wallet, where: str, number: object, wait: float = 0) -> pb.Receipt:
    async with around.client(who, where) as client:
        request = pb.GetReceiptRequest(name=f"receipts/{number}", wait_seconds=wait)
        return await client.call(client.attribution.GetReceipt, request)


async def refusal(around: World, who: Wallet, where: str, number: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await get(around, who, where, number)
    return caught.value


def revised(artifacts: Artifacts, **changes: object) -> str:
    """Publish a manifest that differs; the name of its revision."""
    lineage = replace(artifacts.lineage, **changes)
    artifacts.store.put(lineage.to_bytes())
    return lineage.revision
