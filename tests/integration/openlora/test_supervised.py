"""What callers see of an engine that dies and comes back, and of the request that it dies of."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.openlora.engine import Engine, EngineDelta, EngineRequest
from services.openlora.engine_supervised import SupervisedEngine
from tests.fake_engine import FakeEngine
from tests.openlora_world import PRICES, until

POISON = "kill"


class Mortal(FakeEngine):
    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        async with aclosing(super().generate(request)) as deltas:
            async for delta in deltas:
                self.dead |= request.prompt_token_ids == self.tokenize(POISON)
                yield delta


class Engines:
    """One after the other, when the test lets them."""

    def __init__(self) -> None:
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.opened: list[Mortal] = []

    async def open(self) -> Engine:
        await self.may_open.wait()
        self.opened.append(Mortal())
        return self.opened[-1]


@pytest.fixture
def engines() -> Engines:
    return Engines()


async def serving(where: str) -> bool:
    async with grpc.aio.insecure_channel(where) as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        return reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_service_comes_back_and_answers_the_same_request(world, engines):
    request_id = str(uuid.uuid4())
    engine = await SupervisedEngine.open(engines.open, give_up=lambda: None)
    engines.opened[0].gate.clear()
    engines.may_open.clear()
    async with world.life(engine, **PRICES) as client:
        running = asyncio.create_task(world.ask(client, request_id=request_id))
        await until(lambda: engines.opened[0].running)
        engines.opened[0].dead = True
        engines.opened[0].gate.set()
        broken_off, refused = await running, await world.ask(client)
        async with asyncio.timeout(10):
            while await serving(world.at):
                await asyncio.sleep(0.1)
        assert world.ledger.charged() == 0
        engines.may_open.set()
        async with asyncio.timeout(10):
            while not await serving(world.at):
                await asyncio.sleep(0.1)
        again = await world.ask(client, request_id=request_id)
        [trace] = await world.traces()
    for answer in (broken_off, refused):
        assert (answer.reason, answer.error.code) == ("ENGINE_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
        assert answer.error.retry_after >= 1
    assert again.summary.trace_sha256 == trace.digest()
    assert world.ledger.charged() == trace.fee


async def test_a_request_that_kills_the_engine_is_refused_in_words_and_others_are_answered(world, engines):
    engine = await SupervisedEngine.open(engines.open, give_up=lambda: None)
    async with world.life(engine, **PRICES) as client:
        for count in (2, 3):
            killed = await world.ask(client, POISON)
            assert killed.reason == "ENGINE_UNAVAILABLE"
            await until(lambda: len(engines.opened) == count)  # noqa: B023
        refused = await world.ask(client, POISON)
        assert (await world.ask(client, "another question")).summary is not None
        assert len(engines.opened) == 3
        [trace] = await world.traces()
    assert (refused.reason, refused.error.code) == ("POISONOUS_REQUEST", grpc.StatusCode.FAILED_PRECONDITION)
    assert not refused.error.retry_after
    assert "ask for something else" in str(refused.error)
    assert world.ledger.charged() == trace.fee
