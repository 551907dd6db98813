"""OpenLoRA over real gRPC on an engine of the test's choice, a toy ledger beside it, and people who ask and pay."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openledger import manifest
from openledger.artifacts import ArtifactStore
from openledger.base_models import FILES, sha256
from openledger.client import ApiError, Client, Wallet
from openledger.money import Price
from openledger.openlora.v1 import openlora_pb2
from openledger.trace import Trace
from openledger.trace_proto import from_proto
from services.kit.database import Database
from services.kit.server import Assembly
from services.kit.testing import as_service, served, settings
from services.openlora.__main__ import assemble_with
from services.openlora.config import OpenLoRAConfig
from services.openlora.engine import Engine
from tests.toy_ledger import ToyLedger

RICH = 10**24
PRICES = {"price_per_1k_in": 2000, "price_per_1k_out": 5000, "platform_fee": 7}
PRICE = Price(2000, 5000, 7)


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class Answer:
    """What came of a request: text and account, or the refusal; and the response's name where there was one."""

    text: str = ""
    response: str = ""
    summary: openlora_pb2.AnswerSummary | None = None
    error: ApiError | None = None
    pieces: int = 0

    @property
    def reason(self) -> str:
        return "" if self.error is None else self.error.reason


@dataclass
class World:
    """Everything around the service, which lives and dies inside `life`."""

    folder: Path
    base: Path
    ledger: ToyLedger
    ledger_at: str
    wallet: Wallet = field(default_factory=Wallet.create)
    assembly: Assembly | None = None
    at: str = ""

    def __post_init__(self) -> None:
        self.ledger.balances[self.wallet.account] = RICH
        self.artifacts = ArtifactStore(self.folder / "artifacts")

    @asynccontextmanager
    async def life(self, engine: Engine, **more: Any) -> AsyncIterator[Client]:
        """The service, serving; gives the payer's client."""
        own = {"ledger": self.ledger_at, "base": str(self.base), "max_prompt_tokens": 400, "max_tokens": 100}
        config = OpenLoRAConfig(**settings("openlora", self.folder, **(own | {"tend_seconds": 0.05} | more)))
        self.assembly = await assemble_with(config, engine)
        async with served(self.assembly) as self.at, self.client() as client:
            yield client

    def client(self, wallet: Wallet | None = None) -> Client:
        return self.ledger.issuer.client(wallet or self.wallet, openlora=self.at)

    async def ask(self, client: Client, prompt: str = "hello", model: str = "base", **more: Any) -> Answer:
        """One prompt, streamed to its end."""
        sampling = openlora_pb2.Sampling(max_tokens=more.pop("max_tokens", 50), **more.pop("sampling", {}))
        request = openlora_pb2.GenerateRequest(
            model=model, prompt=prompt, sampling=sampling, request_id=more.pop("request_id", str(uuid.uuid4()))
        )
        return await heard(client, client.openlora.Generate, request, more.pop("timeout", 60))

    async def traces(self) -> list[Trace]:
        """All traces, as the Attribution service gets them."""
        async with as_service("attribution", openlora=self.at) as client:
            entries, after = [], 0
            while True:
                request = openlora_pb2.ReadTracesRequest(after_offset=after, max_entries=7)
                page = await client.call(client.openlora.ReadTraces, request)
                if not page.entries:
                    assert [entry.offset for entry in entries] == list(range(1, page.high_watermark + 1))
                    return [from_proto(entry.trace) for entry in entries]
                entries += page.entries
                after = page.entries[-1].offset

    def storage(self) -> Database:
        """The service's own database: the last thing that it closes."""
        return self.assembly.close[-1].__self__

    def kill(self) -> None:
        """Let the service end as a killed process does: with nothing given back and nothing finished."""
        self.assembly.close = [self.storage().close]

    def gauge(self, name: str) -> float:
        """One of the service's own metrics."""
        value = self.assembly.metrics.registry.get_sample_value(f"openledger_openlora_{name}")
        assert value is not None, f"there is no metric {name}"
        return value

    def publish(self, adapter: str = "tiny", *, base_sha256: str = "", weights: bytes = b"weights") -> str:
        """Publish an adapter whose files no engine reads; its revision's name."""
        base = base_sha256 or sha256(str(self.base))
        return publish(self.artifacts, adapter, base_sha256=base, weights=weights)


def publish(store: ArtifactStore, adapter: str = "tiny", *, base_sha256: str, weights: bytes = b"weights") -> str:
    """Put an adapter into a store, of which only the bytes matter; its revision's name."""
    files = dict.fromkeys(manifest.FILES, store.put(b"{}"))
    files["adapter_model.safetensors"] = store.put(weights)
    lineage = manifest.LineageManifest(
        adapter=adapter,
        base=manifest.Base("a base", base_sha256),
        files=files,
        index_root="0" * 64,
        snapshots=(manifest.Snapshot("datanets/tiny/snapshots/1", "0" * 64),),
        spec={},
        contributors={"0x" + "a" * 40: 1},
        owner="0x" + "b" * 40,
        metrics={},
        code="openledger tests",
    )
    store.put(lineage.to_bytes())
    return lineage.revision


async def heard(client: Client, method: Any, request: Any, timeout: float = 60) -> Answer:
    """A stream's text and end, whatever the end is."""
    answer = Answer()
    try:
        async for chunk in client.stream(method, request, timeout):
            assert answer.summary is None, "something came after the account"
            answer.text += chunk.text
            answer.pieces += 1
            answer.response = chunk.response
            if chunk.HasField("summary"):
                answer.summary = chunk.summary
    except ApiError as error:
        answer.error = error
    return answer


def no_model(folder: Path) -> Path:
    """A folder that passes for a base model with an engine that reads none."""
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text("{}")
    sizes = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
    shape = {"model_type": "llama", "max_position_embeddings": 512, **dict.fromkeys(sizes, 8)}
    (folder / "config.json").write_text(json.dumps(shape))
    return folder
