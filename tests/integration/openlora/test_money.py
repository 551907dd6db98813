"""What a payer has and has not, and a ledger that is away."""

from __future__ import annotations

import asyncio

import grpc

from tests.openlora_world import PRICE, PRICES


async def test_a_payer_without_balance_hears_the_ledgers_advice(world, engine):
    world.ledger.balances[world.wallet.account] = 10
    async with world.life(engine, **PRICES) as client:
        answer = await world.ask(client)
    assert (answer.reason, answer.error.code) == ("INSUFFICIENT_BALANCE", grpc.StatusCode.FAILED_PRECONDITION)
    assert "deposit more OPEN" in answer.error.message
    assert answer.error.metadata["spendable"] == "10"
    assert engine.generated == []


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
