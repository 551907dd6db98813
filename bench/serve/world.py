"""What is measured, as it runs in production: `python -m services.openlora` with its engine, a ledger, adapters.

The service is a process of its own, started as `openledger up` starts it, on the real base model.  The ledger beside it
keeps balances in memory and speaks the real protocol.  Adapters have random weights, for what serving them costs does
not depend on numbers; their contribution indexes, which OpenLoRA never reads, are left empty.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.serve.load import Ask, RefusedError
from bench.serve.processes import ended
from bench.serve.size import Size
from openledger import base_models, manifest
from openledger.artifacts import ArtifactStore
from openledger.client import ApiError, Client, Wallet
from openledger.openlora.v1 import openlora_pb2
from openledger.trace import Trace
from openledger.trace_proto import from_proto
from services.kit.testing import SECRET, as_service, endpoints
from tests import tiny_model
from tests.ports import six_free_ports
from tests.toy_ledger import ToyLedger, toy_ledger

ROOT = Path(__file__).resolve().parents[2]
RANK, TARGETS = 4, ("q_proj", "v_proj")
"""Of every adapter, on all layers: half a megabyte each on SmolLM2-135M, so that 1,000 of them fit into memory."""
MAX_RANK = 8
SMALL = 0.01
"""Size of the weights: the base model's words stay words."""
PROMPT_TOKENS, MOST_TOKENS = 512, 128
CACHE_BYTES = 256 * 2**20
START_SECONDS = 300.0
SESSION_SECONDS = 4 * 3600
RICH = 10**30


@dataclass
class World:
    """Everything around the service.  `folder` (TMPDIR) holds its files, which must not be memory."""

    size: Size
    folder: Path
    base: str
    ledger: ToyLedger
    ledger_at: str
    wallets: dict[int, Wallet] = field(default_factory=dict)

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Where adapters are published."""
        return ArtifactStore(self.folder / "artifacts")

    @cached_property
    def publisher(self) -> Publisher:
        """Who publishes them."""
        return Publisher(self.artifacts, self.base)

    def token(self, tenant: int) -> str:
        """A session of a tenant, who is rich."""
        if tenant not in self.wallets:
            self.wallets[tenant] = Wallet.create()
            self.ledger.balances[self.wallets[tenant].account] = RICH
        return self.ledger.issuer.token(self.wallets[tenant], SESSION_SECONDS)

    @asynccontextmanager
    async def service(self, name: str, program: Sequence[str] = (), **settings: Any) -> AsyncIterator[Service]:
        """The service, serving; with files of its own in `folder/name`."""
        service = Service(self, name, program or ("-m", "services.openlora"), settings)
        await service.start()
        try:
            yield service
        finally:
            await service.stop()

    def environment(self, name: str, ports: int, settings: dict[str, Any]) -> dict[str, str]:
        """What a service is told."""
        size = self.size
        told = {
            "listen": f"127.0.0.1:{ports}",
            "metrics_listen": f"127.0.0.1:{ports + 1}",
            "data_dir": self.folder / name,
            "artifacts_dir": self.artifacts.root,
            "service_secret": SECRET,
            "ledger": self.ledger_at,
            "base": self.base,
            "engine": size.engine,
            "log_level": "error",
            "drain_seconds": 0,
            "max_rpcs": 10_000,
            "max_rpcs_per_caller": 10_000,
            "max_running": size.running,
            "max_queued": 10_000,
            "max_queued_per_tenant": 10_000,
            "max_queued_per_adapter": 10_000,
            "max_active_adapters": size.some_slots,
            "max_adapters": size.some,
            "max_rank": MAX_RANK,
            "max_prompt_tokens": PROMPT_TOKENS,
            "max_tokens": MOST_TOKENS,
            "cache_bytes": CACHE_BYTES,
            "dtype": size.dtype,
            **settings,
        }
        return os.environ | {f"OPENLEDGER_OPENLORA_{key.upper()}": str(value) for key, value in told.items()}


@asynccontextmanager
async def world(size: Size) -> AsyncIterator[World]:
    """A world of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="openledger-bench-") as name:
        folder = Path(name)
        (folder / "artifacts").mkdir()
        base = str(tiny_model.make(folder / "base", context=1024)) if size.base == "tiny" else size.base
        async with toy_ledger(folder) as (ledger, where):
            ledger.lease_seconds = SESSION_SECONDS
            yield World(size, folder, str(base_models.locate(base)), ledger, where)


class Service:
    """The process, and those who ask it; it can be started again where it was.  See `load.Target`."""

    def __init__(self, around: World, name: str, program: Sequence[str], settings: dict[str, Any]) -> None:
        self._program, self._name, self._around = program, name, around
        self._ports = six_free_ports()
        self._environment = around.environment(name, self._ports, settings)
        self._clients: dict[int, Client] = {}
        self.at = f"127.0.0.1:{self._ports}"
        self.child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the process as it is now."""
        assert self.child is not None
        return self.child.pid

    async def start(self) -> None:
        """Begin, and return when it serves.  Raises `RuntimeError` with what it said, if it does not."""
        errors = self._around.folder / f"{self._name}.log"
        # A file and no pipe, which an engine that outlives its service would hold open.
        serving = errors.with_suffix(".out")
        with errors.open("ab") as said, serving.open("wb") as out:
            self.child = await asyncio.create_subprocess_exec(
                sys.executable, *self._program, env=self._environment, cwd=ROOT,
                stdout=out, stderr=said,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not _size(serving) and self.child.returncode is None and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if not _size(serving):
            await ended(self.child)
            raise RuntimeError(f"{self._name} does not start: {errors.read_text()[-2000:]}")

    async def stop(self) -> None:
        """End in good order: what was charged is settled with the ledger."""
        for client in self._clients.values():
            await client.__aexit__()
        self._clients.clear()
        if self.child is not None:
            await ended(self.child)

    def client(self, tenant: int = 0) -> Client:
        """A tenant's client."""
        if tenant not in self._clients:
            token = self._around.token(tenant)
            self._clients[tenant] = Client(endpoints(openlora=self.at), token=lambda: token)
        return self._clients[tenant]

    async def answer(self, ask: Ask, heard: Callable[[], None]) -> tuple[int, int]:
        """See `load.Target`."""
        client, pieces = self.client(ask.tenant), 0
        try:
            async with aclosing(client.stream(client.openlora.Generate, generate(ask), 900)) as chunks:
                async for chunk in chunks:
                    if chunk.text:
                        heard()
                        pieces += 1
                        if pieces == ask.leaves:
                            raise RefusedError("LEFT")
                    if chunk.HasField("summary"):
                        return chunk.summary.tokens_in, chunk.summary.tokens_out
        except ApiError as error:
            raise RefusedError(error.reason) from None
        raise RefusedError("NO_ACCOUNT")

    async def metrics(self) -> dict[str, float]:
        """The service's own metrics, names without its prefix: `name` sums up what has labels, `name:label` is one."""
        where = f"http://127.0.0.1:{self._ports + 1}/metrics"

        def read() -> str:
            with urllib.request.urlopen(where, timeout=10) as page:
                return str(page.read().decode())

        found: dict[str, float] = {}
        for family in text_string_to_metric_families(await asyncio.to_thread(read)):
            for sample in family.samples:
                name = sample.name.removeprefix("openledger_openlora_")
                for key in {name, ":".join((name, *sample.labels.values()))}:
                    found[key] = found.get(key, 0.0) + sample.value
        return found

    async def traces(self) -> list[Trace]:
        """All of them, as Attribution gets them."""
        found: list[Trace] = []
        async with as_service("attribution", openlora=self.at) as client:
            after = 0
            while True:
                wanted = openlora_pb2.ReadTracesRequest(after_offset=after, max_entries=500)
                page = await client.call(client.openlora.ReadTraces, wanted)
                if not page.entries:
                    return found
                found += [from_proto(entry.trace) for entry in page.entries]
                after = page.entries[-1].offset


def _size(file: Path) -> int:
    return file.stat().st_size


def generate(ask: Ask, request_id: str = "") -> openlora_pb2.GenerateRequest:
    """The request: the likeliest token always."""
    return openlora_pb2.GenerateRequest(
        model=ask.model,
        prompt=ask.prompt,
        sampling=openlora_pb2.Sampling(max_tokens=ask.tokens),
        request_id=request_id or str(uuid.uuid4()),
    )


class Publisher:
    """Makes adapters of one shape on one base model, and publishes them."""

    def __init__(self, store: ArtifactStore, base: str) -> None:
        import torch

        from openledger.influence.adapter_config import AdapterConfig
        from openledger.influence.decoder import Decoder
        from openledger.influence.lora import Adapter

        self._store, self._base, self._made = store, manifest.Base(base, base_models.sha256(base)), 0
        decoder = Decoder.load(base_models.locate(base))
        config = AdapterConfig(base, RANK, 2 * RANK, TARGETS, tuple(range(decoder.layers)))
        adapter = Adapter.initialise(config, decoder.model, torch.Generator().manual_seed(0))
        self._shapes = {name: tensor.shape for name, tensor in adapter.tensors.items()}
        self._config = store.put(json.dumps(config.to_json()).encode())
        self._index = store.put(b"")
        self.bytes = 2 * sum(shape.numel() for shape in self._shapes.values())
        """Of one adapter's weights."""

    def publish(self, count: int) -> list[str]:
        """So many more; their revisions' names."""
        self._made += count
        return [self._publish(number) for number in range(self._made - count, self._made)]

    def _publish(self, number: int) -> str:
        import torch
        from safetensors.torch import save

        chance = torch.Generator().manual_seed(number)
        weights = {
            name: (SMALL * torch.randn(shape, generator=chance)).to(torch.bfloat16)
            for name, shape in self._shapes.items()
        }
        files = dict.fromkeys(manifest.FILES, self._index) | {
            "adapter_config.json": self._config,
            "adapter_model.safetensors": self._store.put(save(weights, metadata={"format": "pt"})),
        }
        lineage = manifest.LineageManifest(
            adapter=f"bench{number}",
            base=self._base,
            files=files,
            index_root="0" * 64,
            snapshots=(manifest.Snapshot("datanets/bench/snapshots/1", "0" * 64),),
            spec={},
            contributors={"0x" + "a" * 40: 1},
            owner="0x" + "0d" * 20,
            metrics={},
            code="openledger bench",
        )
        self._store.put(lineage.to_bytes())
        return lineage.revision
