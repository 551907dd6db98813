"""Whoever asks much keeps nobody from their turn, over real gRPC, and hears when it is too much."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc
import pytest

from openledger.client import Wallet
from services.openlora.engine import EngineDelta, EngineRequest
from tests.fake_engine import FakeEngine
from tests.openlora_world import RICH, until


class Paced(FakeEngine):
    """Generates a token of every answer in the same steps, as a batch does."""

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        async with aclosing(super().generate(request)) as deltas:
            async for delta in deltas:
                yield delta
                loop = asyncio.get_running_loop()
                await asyncio.sleep(0.01 - loop.time() % 0.01)


@pytest.fixture
def other(world) -> Wallet:
    wallet = Wallet.create()
    world.ledger.balances[wallet.account] = RICH
    return wallet


async def test_two_that_both_ask_too_much_get_the_same(world, other):
    async with world.life(Paced(), max_running=4) as much, world.client(other) as little:

        async def forever(client) -> None:
            while True:
                assert (await world.ask(client, "go on")).error is None

        asking = [asyncio.create_task(forever(client)) for client in (*[much] * 30, *[little] * 6)]
        await until(lambda: world.gauge("tokens_out_total") > 1000, seconds=60)
        for task in asking:
            task.cancel()
        assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*asking, return_exceptions=True))
        tokens = Counter[str]()
        for trace in await world.traces():
            tokens[trace.payer] += len(trace.completion_token_ids)
    assert len(tokens) == 2
    assert sum(tokens.values()) ** 2 / 2 / sum(each**2 for each in tokens.values()) >= 0.98


async def test_who_asks_little_does_not_stand_behind_who_asks_much(world, other):
    engine = Paced()
    async with world.life(engine, max_running=4) as much, world.client(other) as little:

        async def forever() -> None:
            while True:
                await world.ask(much, "go on")

        asking = [asyncio.create_task(forever()) for _ in range(40)]
        await until(lambda: world.gauge("queued") >= 30)
        passed = []
        for number in range(10):
            before = len(engine.generated)
            answer = await world.ask(little, f"{number}")
            passed.append(engine.generated.index(answer.response.removeprefix("responses/")) - before)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    assert sorted(passed)[5] <= 4  # first come, first served, it would be 36


async def test_who_asks_too_much_at_once_is_told_so(world, engine):
    engine.gate.clear()
    limits = {"max_running": 1, "max_queued_per_tenant": 2, "max_queued_per_adapter": 1}
    model = world.publish()
    async with world.life(engine, **limits) as client:
        taken = [asyncio.create_task(world.ask(client, f"{n}", model=m)) for n, m in enumerate(("base", model))]
        await until(lambda: world.gauge("queued") == 1 and world.gauge("running") == 1)
        adapter = await world.ask(client, "and one more", model=model)
        taken.append(asyncio.create_task(world.ask(client, "and one of the base")))
        await until(lambda: world.gauge("queued") == 2)
        tenant = await world.ask(client, "and another")
        engine.gate.set()
        assert all(answer.summary for answer in await asyncio.gather(*taken))
    assert (adapter.reason, tenant.reason) == ("ADAPTER_BUSY", "TENANT_BUSY")
    for refused in (adapter, tenant):
        assert refused.error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.error.retry_after == 2


async def test_who_fills_the_queue_makes_room_for_others_and_pays_nothing_for_what_went(world, engine, other):
    engine.gate.clear()
    async with world.life(engine, max_running=1, max_queued=3, spare_turns=0) as much, world.client(other) as little:
        taken = []
        for number in range(4):
            taken.append(asyncio.create_task(world.ask(much, f"{number}")))
            await until(lambda: world.gauge("queued") + world.gauge("running") == len(taken))
        let_in = asyncio.create_task(world.ask(little))
        await until(taken[-1].done)
        engine.gate.set()
        answers = [*await asyncio.gather(*taken), await let_in]
        assert len(await world.traces()) == 4
    [gone] = [answer for answer in answers if answer.error]
    assert (gone.reason, gone.error.code) == ("QUEUE_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert world.ledger.charged() == sum(int(answer.summary.fee) for answer in answers if answer.summary)
