"""From the end of an answer, as its reader sees it, to its receipt: OpenLoRA and Attribution over gRPC in this process.

Both are what production runs, put together as their `__main__` does it, on the real engine; the ledger beside them
keeps balances in memory.  Generating and scoring share the machine, as they do on one machine.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.attribute.answers import questions
from openledger.attribution.v1 import attribution_pb2
from openledger.client import Client
from openledger.openlora.v1 import openlora_pb2
from services.attribution.__main__ import assemble
from services.attribution.config import AttributionConfig
from services.kit.testing import served, settings
from services.openlora.engine import Engine
from tests.openlora_world import World, heard
from tests.toy_ledger import toy_ledger


@dataclass(frozen=True)
class Services:
    """A payer's client of both services."""

    client: Client
    model: str
    tokens: int

    async def receipt_after_answer(self, question: str) -> float:
        """Ask, and wait for the receipt: seconds from the answer's end."""
        request = openlora_pb2.ChatRequest(
            model=self.model,
            messages=[openlora_pb2.Message(role="user", content=question)],
            sampling=openlora_pb2.Sampling(max_tokens=self.tokens),
            request_id=str(uuid.uuid4()),
        )
        answer = await heard(self.client, self.client.openlora.Chat, request, 300)
        if answer.error is not None:
            raise answer.error
        ended = time.monotonic()
        name = answer.response.replace("responses/", "receipts/")
        wanted = attribution_pb2.GetReceiptRequest(name=name, wait_seconds=60)
        await self.client.call(self.client.attribution.GetReceipt, wanted, 70)
        return time.monotonic() - ended

    async def receipts(self, count: int, at_once: int) -> list[float]:
        """Seconds of so many answers: `at_once` together, and the next ones when all have theirs."""
        asked, found = questions(count), []
        for start in range(0, count, at_once):
            found += await asyncio.gather(*map(self.receipt_after_answer, asked[start : start + at_once]))
        return found


@asynccontextmanager
async def services(folder: Path, base: str, engine: Engine, revision: str, tokens: int) -> AsyncIterator[Services]:
    """Both services on `folder`, in whose `artifacts` the revision is published.  Closes the engine at its end."""
    async with toy_ledger(folder) as (ledger, ledger_at):
        world = World(folder, Path(base), ledger, ledger_at)
        limits = {"base": base, "max_prompt_tokens": 1536, "max_tokens": 1024}
        async with world.life(engine, **limits):
            config = AttributionConfig(
                **settings("attribution", folder, openlora=world.at, ledger=ledger_at, base=base)
            )
            async with served(await assemble(config)) as attribution:
                issuer = ledger.issuer
                async with issuer.client(world.wallet, openlora=world.at, attribution=attribution) as client:
                    yield Services(client, revision, tokens)


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {f"p{q}_s": round(float(np.percentile(seconds, q)), 3) for q in (50, 95)}
