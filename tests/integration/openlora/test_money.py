"""What a payer has and has not, and a ledger that is away."""

from __future__ import annotations

import asyncio

import grpc

from openledger.openlora.v1 import openlora_pb2
from tests.openlora_world import PRICE, PRICES, until


async def test_a_payer_without_balance_hears_the_ledgers_advice(world, engine):
    world.ledger.balances[world.wallet.account] = 10
    async with world.life(engine, **PRICES) as client:
        answer = await world.ask(client)
    assert (answer.reason, answer.error.code) == ("INSUFFICIENT_BALANCE", grpc.StatusCode.FAILED_PRECONDITION)
    assert "deposit more OPEN" in answer.error.message
    assert answer.error.metadata["spendable"] == "10"
    assert engine.generated == []


async def test_who_names_no_model_hears_so_with_or_without_money(world, engine):
    nobody = "adapters/tiny/revisions/" + "0" * 64
    world.ledger.balances[world.wallet.account] = 0
    async with world.life(engine, **PRICES) as client:
        found = [(await world.ask(client, model=model)).reason for model in (nobody, "no model", "base")]
    assert found == ["UNKNOWN_ADAPTER", "UNKNOWN_MODEL", "INSUFFICIENT_BALANCE"]
    assert world.ledger.asked, "the ledger was asked for the base model alone"


async def test_the_ledger_is_not_asked_for_what_it_has_said_is_not_there(world, engine):
    need = PRICE.fee(5, 50)
    async with world.life(engine, **PRICES) as client:
        for balance, refused in ((10, True), (need, False)):
            world.ledger.asked.clear()
            world.ledger.balances[world.wallet.account] = balance
            answer = await world.ask(client, max_tokens=50)
            assert world.ledger.asked[:2] == [2 * 10**18, need], "not an eighth of a chunk in between"
            assert (answer.reason == "INSUFFICIENT_BALANCE") == refused


async def test_a_balance_can_be_spent_to_the_last_answer(world, engine):
    most = PRICE.fee(5, 20)
    world.ledger.balances[world.wallet.account] = 3 * most
    async with world.life(engine, **PRICES) as client:
        answers = [await world.ask(client, f"n{n:04}", max_tokens=20) for n in range(40)]
    paid = [int(answer.summary.fee) for answer in answers if answer.summary]
    assert {answer.reason for answer in answers} == {"", "INSUFFICIENT_BALANCE"}
    assert len(paid) >= 3
    assert 3 * most - sum(paid) < most
    assert world.ledger.balances[world.wallet.account] == 3 * most - sum(paid)


async def test_while_the_ledger_is_away_what_was_set_aside_can_still_be_spent(world, engine):
    async with world.life(engine, lease_chunk=1000, **PRICES) as client:
        before = await world.ask(client, max_tokens=50)
        world.ledger.away = True
        meanwhile = await world.ask(client, max_tokens=50)
        beyond = await world.ask(client, "x" * 400, max_tokens=50)
        world.ledger.away = False
        await asyncio.sleep(1)
        after = await world.ask(client, "x" * 400, max_tokens=50)
        traces = await world.traces()
    assert all(answer.summary for answer in (before, meanwhile, after))
    assert (beyond.reason, beyond.error.code) == ("LEDGER_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
    assert beyond.error.retry_after
    assert (len(engine.generated), len(traces)) == (3, 3)
    assert world.ledger.charged() == sum(trace.fee for trace in traces)


async def test_after_an_estimate_the_first_answer_needs_no_ledger(world, engine):
    request = openlora_pb2.EstimateAnswerRequest(model="base", prompt="hello")
    async with world.life(engine, **PRICES) as client:
        await client.call(client.openlora.EstimateAnswer, request)
        await until(lambda: world.gauge("leases") == 1)
        world.ledger.away = True
        answer = await world.ask(client)
        world.ledger.away = False
    assert answer.summary is not None
    assert world.ledger.charged() == int(answer.summary.fee)


async def test_an_estimate_for_who_has_nothing_is_an_estimate(world, engine):
    world.ledger.balances[world.wallet.account] = 0
    request = openlora_pb2.EstimateAnswerRequest(model="base", prompt="hello")
    async with world.life(engine, **PRICES) as client:
        estimate = await client.call(client.openlora.EstimateAnswer, request)
        answer = await world.ask(client)
    assert int(estimate.fee_most) == PRICE.fee(5, 100)
    assert answer.reason == "INSUFFICIENT_BALANCE"


async def test_no_answer_outlives_the_lease_that_pays_it(world, engine):
    world.ledger.lease_seconds = 13  # of which the last 11 are not used: those of an answer, and ten to settle in
    async with world.life(engine, max_answer_seconds=1, **PRICES) as client:
        async with asyncio.timeout(30):
            while len(world.ledger.leases) < 3:
                assert (await world.ask(client)).summary is not None
                await asyncio.sleep(0.1)
        traces = await world.traces()
    assert {trace.lease for trace in traces} <= world.ledger.leases.keys()
    assert len({trace.lease for trace in traces}) >= 2
    for trace in traces:
        assert trace.end_time < world.ledger.leases[trace.lease].expire_time.ToJsonString()
    assert world.ledger.charged() == sum(trace.fee for trace in traces)
