"""vLLM's process is killed again and again under load: everybody can ask again, and nothing is lost or paid twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import uuid
from functools import partial
from multiprocessing.process import BaseProcess

import pytest

from services.openlora import engine_supervised
from services.openlora.engine import EngineSettings, open_engine
from services.openlora.engine_supervised import SupervisedEngine
from tests import tiny_model
from tests.needs import needs
from tests.openlora_world import PRICES, World, until
from tests.toy_ledger import toy_ledger

pytestmark = [needs("vllm"), pytest.mark.long, pytest.mark.timeout(900)]

KILLS, ASKERS = 10, 4
SETTINGS = EngineSettings(
    context=512, max_running=8, max_active_adapters=1, max_adapters=1, max_rank=8, cache_bytes=2**24
)


@pytest.fixture
async def world(tmp_path):
    async with toy_ledger(tmp_path) as (ledger, where):
        yield World(tmp_path, tiny_model.make(tmp_path / "base"), ledger, where)


class Asker:
    """Somebody who asks without pause, and the same again until it is answered."""

    def __init__(self, world: World, client: object, number: int) -> None:
        self.world, self.client, self.number = world, client, number
        self.fees: dict[str, int] = {}
        self.refusals: list[str] = []

    async def run(self) -> None:
        while True:
            request_id, prompt = str(uuid.uuid4()), f"question {len(self.fees)} of {self.number}"
            while True:
                answer = await self.world.ask(self.client, prompt, request_id=request_id, max_tokens=100)
                if answer.summary is not None:
                    break
                self.refusals.append(answer.reason)
                await asyncio.sleep(min(1.0, answer.error.retry_after or 1.0))
            self.fees[answer.response] = int(answer.summary.fee)


def kill_engine(others: frozenset[BaseProcess]) -> None:
    """The one that is not among the others: an engine that other tests share may be up in this process."""
    [child] = frozenset(multiprocessing.active_children()) - others
    os.kill(child.pid, signal.SIGKILL)
    child.join(10)


async def test_ten_kills_of_the_engine_under_load(world, monkeypatch):
    # A fast machine has the fifth engine up within a minute, and a service whose engine dies as often ends.
    monkeypatch.setattr(engine_supervised, "_WITHIN", 0.0)
    rng = random.Random(7)
    given_up: list[None] = []
    others = frozenset(multiprocessing.active_children())
    opened = partial(open_engine, "vllm", world.base, SETTINGS)
    engine = await SupervisedEngine.open(opened, lambda: given_up.append(None))
    async with world.life(engine, **PRICES) as client:
        askers = [Asker(world, client, number) for number in range(ASKERS)]
        tasks = [asyncio.create_task(asker.run()) for asker in askers]
        for _ in range(KILLS):
            before = [len(asker.fees) for asker in askers]
            await until(lambda: all(len(a.fees) > n for a, n in zip(askers, before, strict=True)), 90)  # noqa: B023
            await asyncio.sleep(rng.uniform(0.0, 1.0))
            kill_engine(others)
        before = [len(asker.fees) for asker in askers]
        await until(lambda: all(len(a.fees) > n for a, n in zip(askers, before, strict=True)), 90)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        traces = {trace.response: trace.fee for trace in await world.traces()}
    answered = {response: fee for asker in askers for response, fee in asker.fees.items()}
    assert {reason for asker in askers for reason in asker.refusals} == {"ENGINE_UNAVAILABLE"}
    assert answered.items() <= traces.items(), "an answer that was reported complete has no trace"
    assert len(traces) <= len(answered) + ASKERS, "only who was asking at the end may have one unseen"
    assert world.ledger.charged() == sum(traces.values())
    assert given_up == []
