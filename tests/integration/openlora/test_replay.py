"""Answers generated again and compared, over real gRPC."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from openledger.client import ApiError, Wallet
from openledger.openlora.v1 import openlora_pb2
from services.openlora.engine import EngineDelta, RequestPoisonous
from tests.fake_engine import FakeEngine
from tests.openlora_world import PRICES, RICH, until


async def replayed(client, response: str):
    return await client.call(client.openlora.ReplayAnswer, openlora_pb2.ReplayAnswerRequest(name=response), 20)


async def refused(client, response: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await replayed(client, response)
    return caught.value


class Forgetful(FakeEngine):
    """From the token `place` on it says something else than it did."""

    version, description = "2", "fake 2"

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    async def generate(self, request):
        number = 0
        async for delta in super().generate(request):
            tokens = tuple(token + (number + n >= self.place) for n, token in enumerate(delta.token_ids))
            number += len(tokens)
            yield EngineDelta(tokens, delta.text, delta.finish_reason)


@pytest.mark.parametrize("most", (50, 3), ids=("to its end", "cut short"))
async def test_an_answer_comes_again_and_costs_nothing(world, engine, most):
    model = world.publish()
    async with world.life(engine, **PRICES) as client:
        answer = await world.ask(client, model=model, max_tokens=most, sampling={"stop": ["never said"]})
        first = await replayed(client, answer.response)
        again = await replayed(client, answer.response)
        traces = await world.traces()
    assert (first.tokens, first.matched) == (answer.summary.tokens_out, answer.summary.tokens_out)
    assert first.first_difference == first.tokens
    assert (first.engine_then, first.engine_now) == ("fake 1", "fake 1")
    assert again == first
    assert len(engine.generated) == 2, "it is generated again once"
    assert len(traces) == 1
    assert world.ledger.charged() == int(answer.summary.fee)


async def test_the_first_token_that_differs_is_told_and_what_follows_is_not_generated(world, engine):
    async with world.life(engine) as client:
        answer = await world.ask(client)
        assert answer.summary.tokens_out > 4
    other = Forgetful(3)
    async with world.life(other) as client:
        comparison = await replayed(client, answer.response)
        counted = world.assembly.metrics.registry.get_sample_value
        matched, different = (
            counted("openledger_openlora_replay_tokens_total", {"outcome": outcome})
            for outcome in ("matched", "different")
        )
    assert (comparison.matched, comparison.first_difference) == (3, 3)
    assert (comparison.engine_then, comparison.engine_now) == ("fake 1", "fake 2")
    assert (matched, different) == (3, answer.summary.tokens_out - 3)
    assert other.aborted == other.generated
    async with world.life(FakeEngine()) as client:
        assert await replayed(client, answer.response) == comparison, "what came of it first is kept"


async def test_its_payer_and_operators_have_an_answer_generated_again_and_nobody_else(world, engine):
    operator = Wallet.create()
    async with (
        world.life(engine, operators=[operator.address]) as client,
        world.client(Wallet.create()) as stranger,
        world.client(operator) as operators,
    ):
        answer = await world.ask(client)
        error = await refused(stranger, answer.response)
        assert len(engine.generated) == 1
        assert (await replayed(operators, answer.response)).matched == answer.summary.tokens_out
        nowhere = await refused(operators, "responses/" + "0" * 32)
    assert (error.reason, error.code) == ("ANSWER_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
    assert nowhere.reason == "ANSWER_NOT_FOUND"


async def test_what_was_drawn_by_lot_or_by_another_model_is_not_compared(world, engine):
    async with world.life(engine) as client:
        drawn = await world.ask(client, "drawn", sampling={"temperature": 0.5})
        greedy = await world.ask(client, "greedy")
        by_lot = await refused(client, drawn.response)
    weights = world.base / "model.safetensors"
    weights.write_text("other weights")
    async with world.life(FakeEngine()) as client:
        another = await refused(client, greedy.response)
    assert {by_lot.code, another.code} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert (by_lot.reason, another.reason) == ("CANNOT_REPLAY", "CANNOT_REPLAY")
    assert "temperature" in by_lot.message
    assert "another base" in another.message


async def test_who_leaves_does_not_have_it_generated_over_and_over(world, engine):
    async with world.life(engine) as client:
        answer = await world.ask(client)
        engine.gate.clear()
        with pytest.raises(ApiError):
            await client.call(client.openlora.ReplayAnswer, openlora_pb2.ReplayAnswerRequest(name=answer.response), 0.5)
        waiting = asyncio.create_task(replayed(client, answer.response))
        await until(lambda: engine.running)
        engine.gate.set()
        comparison = await waiting
    assert comparison.matched == comparison.tokens
    assert len(engine.generated) == 2


async def test_one_payers_answers_leave_room_for_those_of_others(world, engine):
    other = Wallet.create()
    world.ledger.balances[other.account] = RICH
    async with world.life(engine) as client, world.client(other) as others:
        own = [(await world.ask(client, f"number {n}")).response for n in range(5)]
        theirs = (await world.ask(others)).response
        engine.gate.clear()
        waiting = [asyncio.create_task(replayed(client, response)) for response in own[:4]]
        await until(lambda: engine.running)
        await asyncio.sleep(0.1)
        busy = await refused(client, own[4])
        waiting.append(asyncio.create_task(replayed(others, theirs)))
        await asyncio.sleep(0.1)
        engine.gate.set()
        comparisons = await asyncio.gather(*waiting)
        comparisons.append(await replayed(client, own[4]))
    assert (busy.reason, busy.code) == ("REPLAYS_BUSY", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert [comparison.response for comparison in comparisons] == [*own[:4], theirs, own[4]]


async def test_a_dead_engine_is_said_and_nothing_is_kept_of_it(world, engine):
    async with world.life(engine) as client:
        answer = await world.ask(client)
        engine.dead = True
        error = await refused(client, answer.response)
        engine.dead = False
        comparison = await replayed(client, answer.response)
    assert (error.reason, error.code) == ("ENGINE_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
    assert comparison.matched == comparison.tokens


async def test_the_service_ends_while_an_answer_is_generated_again(world, engine):
    async with world.life(engine) as client:
        answer = await world.ask(client)
        engine.gate.clear()
        waiting = asyncio.create_task(replayed(client, answer.response))
        await until(lambda: engine.running)
    await asyncio.gather(waiting, return_exceptions=True)
    assert not engine.running


async def test_an_answer_that_the_engine_dies_of_is_not_let_in_and_its_payer_hears_so(world, engine):
    class Wary(FakeEngine):
        async def generate(self, request):
            raise RequestPoisonous("the engine died of it twice")
            yield

    async with world.life(engine) as client:
        answer = await world.ask(client)
    async with world.life(Wary()) as client:
        error = await refused(client, answer.response)
    assert (error.reason, error.code) == ("CANNOT_REPLAY", grpc.StatusCode.FAILED_PRECONDITION)
    assert "died of it twice" in error.message
