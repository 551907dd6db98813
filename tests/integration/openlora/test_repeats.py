"""The same request again, at once and later; and more requests than there is room for."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest

from openledger.client import Wallet
from tests.fake_engine import FakeEngine
from tests.openlora_world import PRICES, until


async def test_the_same_request_again_gives_the_same_answer_charged_once(world, engine):
    request_id = str(uuid.uuid4())
    async with world.life(engine, **PRICES) as client:
        first = await world.ask(client, "once", request_id=request_id)
        again = await world.ask(client, "once", request_id=request_id)
        assert len(await world.traces()) == 1
    async with world.life(FakeEngine()) as client:
        later = await world.ask(client, "once", request_id=request_id)
    assert (again.text, again.summary, again.response) == (first.text, first.summary, first.response)
    assert (later.text, later.summary, later.response) == (first.text, first.summary, first.response)
    assert len(engine.generated) == 1
    assert world.ledger.charged() == int(first.summary.fee)


@pytest.mark.parametrize("change", ({"prompt": "twice"}, {"max_tokens": 2}, {"sampling": {"seed": 1}}, {"model": "?"}))
async def test_the_same_id_on_another_request_is_refused(world, engine, change):
    request_id = str(uuid.uuid4())
    other = {"prompt": "once"} | change
    other["model"] = world.publish() if "model" in change else "base"
    async with world.life(engine) as client:
        await world.ask(client, "once", request_id=request_id)
        answer = await world.ask(client, request_id=request_id, **other)
    assert (answer.reason, answer.error.code) == ("REQUEST_ID_REUSED", grpc.StatusCode.INVALID_ARGUMENT)


async def test_the_same_id_of_another_payer_is_another_request(world, engine):
    request_id, stranger = str(uuid.uuid4()), Wallet.create()
    world.ledger.balances[stranger.account] = 10**24
    async with world.life(engine) as client, world.client(stranger) as other:
        mine = await world.ask(client, "once", request_id=request_id)
        theirs = await world.ask(other, "else", request_id=request_id)
        assert {t.payer for t in await world.traces()} == {world.wallet.account, stranger.account}
    assert mine.response != theirs.response


async def test_the_same_request_while_it_is_answered_is_told_to_wait(world, engine):
    request_id = str(uuid.uuid4())
    engine.gate.clear()
    async with world.life(engine) as client:
        first = asyncio.create_task(world.ask(client, "once", request_id=request_id))
        await until(lambda: engine.running)
        busy = await world.ask(client, "once", request_id=request_id)
        other = await world.ask(client, "twice", request_id=request_id)
        engine.gate.set()
        assert (await first).summary is not None
        assert (await world.ask(client, "once", request_id=request_id)).summary == (await first).summary
    assert (busy.reason, busy.error.code) == ("IN_PROGRESS", grpc.StatusCode.ABORTED)
    assert other.reason == "REQUEST_ID_REUSED"


async def test_more_than_the_queue_holds_is_sent_away_with_advice(world, engine):
    engine.gate.clear()
    async with world.life(engine, max_running=2, max_queued=3) as client:
        taken = [asyncio.create_task(world.ask(client, f"{n}")) for n in range(5)]
        await until(lambda: world.gauge("queued") == 3 and world.gauge("running") == 2)
        refused = await world.ask(client)
        engine.gate.set()
        answers = await asyncio.gather(*taken)
    assert (refused.reason, refused.error.code) == ("QUEUE_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert refused.error.retry_after == 2
    assert all(answer.summary for answer in answers)
    assert engine.most_running == 2
