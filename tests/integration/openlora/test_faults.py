"""A dead engine, a full disk, a killed process: nothing lost, nothing charged that was not given."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.kit.durable_log import DurableLog
from tests.fake_engine import FakeEngine
from tests.openlora_world import PRICES, until


async def health(where: str) -> int:
    async with grpc.aio.insecure_channel(where) as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        return reply.status


async def test_a_dead_engine_is_said_to_be_dead_and_nothing_is_charged(world, engine):
    engine.gate.clear()
    async with world.life(engine) as client:
        assert await health(world.at) == health_pb2.HealthCheckResponse.SERVING
        running = asyncio.create_task(world.ask(client))
        await until(lambda: engine.running)
        engine.dead = True
        engine.gate.set()
        broken_off, refused = await running, await world.ask(client)
        async with asyncio.timeout(10):
            while await health(world.at) != health_pb2.HealthCheckResponse.NOT_SERVING:
                await asyncio.sleep(0.1)
        assert await world.traces() == []
    for answer in (broken_off, refused):
        assert (answer.reason, answer.error.code) == ("ENGINE_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
        assert answer.error.retry_after == 5
    assert world.ledger.charged() == 0


async def test_an_engine_that_generates_more_than_was_paid_for_charges_nothing(world, engine):
    engine.talkative = True
    async with world.life(engine, **PRICES) as client:
        answer = await world.ask(client, max_tokens=2)
        assert await world.traces() == []
    assert (answer.reason, answer.summary) == ("INTERNAL", None)
    assert world.ledger.charged() == 0


async def test_a_full_disk_stops_admission_loses_no_trace_and_charges_nothing_untraced(world, engine):
    async with world.life(engine) as client:
        before = await world.ask(client, "before")
        database = world.storage()
        pages = database.write_now(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
        limit = database.write_now(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}").scalar_one())
        assert limit == pages + 2
        answers = [await world.ask(client, f"{n:0300}") for n in range(40)]
        first_refusal = next(n for n, answer in enumerate(answers) if answer.error)
        made = len(engine.generated)
        refused = await world.ask(client, "while it is full")
        assert len(engine.generated) == made, "something was begun although the disk is full"
        assert world.gauge("disk_full") == 1
        completed = {a.response for a in (before, *answers) if a.summary}
        assert {trace.response for trace in await world.traces()} == completed
        database.write_now(lambda c: c.exec_driver_sql("PRAGMA max_page_count=100000").scalar_one())
        await until(lambda: world.gauge("disk_full") == 0)
        after = await world.ask(client, "after")
        traces = await world.traces()
    assert {a.reason for a in (*answers[first_refusal:], refused)} == {"DISK_FULL"}
    assert refused.error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.error.retry_after == 30
    assert after.summary is not None
    assert world.ledger.charged() == sum(trace.fee for trace in traces)


@pytest.mark.parametrize("stored", (False, True), ids=("before the trace is stored", "after the trace is stored"))
async def test_a_kill_around_the_trace_charges_what_is_on_disk_and_once(world, engine, monkeypatch, stored):
    append, request_id = DurableLog.append, str(uuid.uuid4())

    async def dying(log: DurableLog, key: str, payload: bytes) -> int:
        if stored:
            await append(log, key, payload)
        await asyncio.Event().wait()  # nothing comes after a kill: not the settling, not the last message
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(DurableLog, "append", dying)
        async with world.life(engine, **PRICES) as client:
            cut_off = await world.ask(client, "once", request_id=request_id, timeout=2)
            assert cut_off.summary is None
            world.kill()
    assert world.ledger.open == {"leases/1"}
    async with world.life(FakeEngine(), **PRICES) as client:
        await until(lambda: "leases/1" not in world.ledger.open)
        charged_before = int(world.ledger.leases["leases/1"].charged)
        again = await world.ask(client, "once", request_id=request_id)
        [trace] = await world.traces()
    assert charged_before == (trace.fee if stored else 0)
    assert trace.lease == ("leases/1" if stored else "leases/2")
    assert (again.summary.trace_sha256, int(again.summary.fee)) == (trace.digest(), trace.fee)
    assert world.ledger.charged() == trace.fee


async def test_a_restart_gives_back_the_leases_of_the_life_before(world, engine):
    async with world.life(engine, **PRICES) as client:
        fees = [int((await world.ask(client, f"{n}")).summary.fee) for n in range(3)]
        world.kill()
    assert world.ledger.open == {"leases/1"}
    async with world.life(FakeEngine(), **PRICES):
        await until(lambda: not world.ledger.open)
    assert world.ledger.charged() == sum(fees)


async def test_an_orderly_end_gives_back_everything(world, engine):
    async with world.life(engine, **PRICES) as client:
        fee = int((await world.ask(client)).summary.fee)
    assert world.ledger.open == set()
    assert world.ledger.charged() == fee
