"""Two real OpenLoRAs, a real Attribution: one of the two is cut off and comes back, again and again."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from openledger import receipt as receipts
from openledger.artifacts import ArtifactStore
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.client import Client
from services.attribution.__main__ import assemble
from services.attribution.addresses import Addresses
from services.attribution.config import AttributionConfig
from services.kit.testing import as_service, served, settings
from services.openlora.engine import EngineSettings, open_engine
from tests import published, tiny_model
from tests.openlora_world import PRICES, World
from tests.toy_ledger import toy_ledger

SETTINGS = EngineSettings(context=512, max_running=8, max_active_adapters=4, max_adapters=4, max_rank=16)
CUTS = 4


@dataclass
class Replica:
    """One of the two, and who asks it."""

    world: World
    there: set[str]
    models: tuple[str, ...]
    told: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of the trace of every answer that was reported complete."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Prompts by their request ids."""

    @property
    def name(self) -> str:
        return self.world.folder.name

    @asynccontextmanager
    async def life(self, artifacts: Path, *, killed: bool = False) -> AsyncIterator[None]:
        """Serving, at an address of its own each time."""
        engine = await open_engine("transformers", self.world.base, SETTINGS)
        more = {"replica": self.name, "artifacts_dir": artifacts, **PRICES}
        async with self.world.life(engine, **more):
            self.there.add(self.world.at)
            yield
            self.there.discard(self.world.at)
            if killed:
                self.world.kill()
        if killed:
            await engine.close()  # a thread of this process, which lives on

    def wants(self, count: int) -> None:
        """More questions; the same ids, whichever replica is asked."""
        for _ in range(count):
            number = len(self.told) + len(self.waiting)
            self.waiting[str(uuid.uuid5(uuid.NAMESPACE_OID, f"{number}"))] = f"{number} times?"

    async def ask(self) -> None:
        """Everything that waits, at once; what is not answered waits on."""
        async with self.world.client() as client:
            await asyncio.gather(*(self._one(client, *each) for each in list(self.waiting.items())))

    async def _one(self, client: Client, request_id: str, prompt: str) -> None:
        model = self.models[len(prompt) % 2]
        answer = await self.world.ask(client, prompt, model, request_id=request_id, max_tokens=12, timeout=30)
        if answer.summary is not None:
            assert answer.response.startswith(f"responses/{self.name}.")
            assert self.told.setdefault(answer.response, answer.summary.trace_sha256) == answer.summary.trace_sha256
            self.waiting.pop(request_id, None)


@pytest.fixture
async def replicas(tmp_path, monkeypatch) -> AsyncIterator[tuple[Replica, Replica]]:
    there: set[str] = set()

    async def now(_: Addresses) -> set[str]:
        return set(there)

    monkeypatch.setattr(Addresses, "now", now)
    base = await asyncio.to_thread(tiny_model.make, tmp_path / "base")
    store = ArtifactStore(tmp_path / "artifacts")
    adapter = await asyncio.to_thread(published.publish, store, base, tmp_path / "trained")
    async with toy_ledger(tmp_path) as (ledger, where):
        world = World(tmp_path, base, ledger, where)
        models = ("base", adapter.revision)
        yield tuple(Replica(replace(world, folder=tmp_path / name), there, models) for name in "ab")


async def settled(where: str, responses: set[str]) -> list[pb.ReceiptEntry]:
    """All receipts, once these have theirs."""
    async with as_service("ledger", attribution=where) as ledger, asyncio.timeout(60):
        while True:
            request = pb.ReadReceiptsRequest(max_entries=1000)
            entries = list((await ledger.call(ledger.attribution.ReadReceipts, request)).entries)
            if responses <= {entry.receipt.response for entry in entries}:
                return entries
            await asyncio.sleep(0.1)


@pytest.mark.timeout(240)
async def test_each_answer_is_attributed_and_charged_once_while_one_is_cut_off_again_and_again(tmp_path, replicas):
    draw, artifacts = random.Random(1), tmp_path / "artifacts"
    a, b = replicas
    near = {"base": str(a.world.base), "replicas_seconds": 0.1, "wait_seconds": 0.5}
    told = settings("attribution", tmp_path, openlora="127.0.0.1:1", ledger=a.world.ledger_at, **near)
    async with served(await assemble(AttributionConfig(**told))) as attribution, b.life(artifacts):
        for _ in range(CUTS):
            async with a.life(artifacts, killed=True):
                a.wants(6)
                b.wants(4)
                asking = asyncio.create_task(a.ask())
                await asyncio.gather(b.ask(), asyncio.sleep(draw.uniform(0.1, 1.0)))
            await asking
        # Meanwhile a is away: whoever asks b notices nothing of it, nor do those whose data answered.
        b.wants(3)
        await b.ask()
        assert not b.waiting
        of_b = await b.world.traces()
        assert {trace.response for trace in of_b} == set(b.told)
        await settled(attribution, set(b.told))
        async with a.life(artifacts):
            await a.ask()
            assert not a.waiting
            traces = {trace.response: trace for trace in (*await a.world.traces(), *of_b)}
            entries = await settled(attribution, set(traces))
    documents = {entry.receipt.response: receipts.parse(entry.receipt.document) for entry in entries}
    digests = {response: trace.digest() for response, trace in traces.items()}
    assert len(entries) == len(documents) == len(traces)
    assert {response: each.trace_sha256 for response, each in documents.items()} == digests
    assert (a.told | b.told).items() <= digests.items()
    fees = sum(trace.fee for trace in traces.values())
    assert a.world.ledger.charged() == fees == sum(each.fee for each in documents.values())
    assert not a.world.ledger.open, "every lease, of every life, was given back"
