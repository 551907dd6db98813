"""Adapters that are unknown, damaged, of another base, or asked for by many at once."""

from __future__ import annotations

import asyncio
import hashlib

import grpc
import pytest

from openledger.client import ApiError, Wallet
from openledger.openlora.v1 import openlora_pb2
from tests.openlora_world import until


async def test_a_name_that_is_no_model_is_explained(world, engine):
    async with world.life(engine) as client:
        answers = [await world.ask(client, model=name) for name in ("gpt", "adapters/x", "adapters/a/revisions/b/c")]
    assert {(a.reason, a.error.code) for a in answers} == {("UNKNOWN_MODEL", grpc.StatusCode.INVALID_ARGUMENT)}


async def test_an_unknown_adapter_is_not_found(world, engine):
    real = world.publish("tiny").rpartition("/")[2]
    names = (
        f"adapters/tiny/revisions/{'0' * 64}",
        "adapters/tiny/revisions/latest",
        f"adapters/other/revisions/{real}",
    )
    async with world.life(engine) as client:
        answers = [await world.ask(client, model=name) for name in names]
        listed = await client.call(client.openlora.ListModels, openlora_pb2.ListModelsRequest())
    assert {(a.reason, a.error.code) for a in answers} == {("UNKNOWN_ADAPTER", grpc.StatusCode.NOT_FOUND)}
    assert [model.name for model in listed.models] == ["base"]
    assert engine.loads == []


async def test_an_adapter_of_another_base_is_refused(world, engine):
    name = world.publish(base_sha256="f" * 64)
    async with world.life(engine) as client:
        answer = await world.ask(client, model=name)
    assert (answer.reason, answer.error.code) == ("WRONG_BASE", grpc.StatusCode.FAILED_PRECONDITION)
    assert engine.loads == []


async def test_a_damaged_adapter_is_refused(world, engine):
    name = world.publish(weights=b"whole")
    blob = hashlib.sha256(b"whole").hexdigest()
    place = world.artifacts.root / "sha256" / blob[:2] / blob
    place.chmod(0o644)
    place.write_bytes(b"holed")
    async with world.life(engine) as client:
        answer = await world.ask(client, model=name)
    assert answer.reason == "ADAPTER_REJECTED"
    assert "damaged" in answer.error.message
    assert engine.loads == []


async def test_a_broken_adapter_harms_nobody_else_and_is_not_tried_again_at_once(world, engine):
    good, broken = world.publish("good"), world.publish("weird", weights=b"broken")
    engine.broken.add(broken.rpartition("/")[2])
    async with world.life(engine) as client:
        models = [good, broken, "base"] * 5
        answers = await asyncio.gather(*(world.ask(client, f"{n}", model=m) for n, m in enumerate(models)))
        assert len(await world.traces()) == 10
    for model, answer in zip(models, answers, strict=True):
        assert answer.reason == ("ADAPTER_REJECTED" if model == broken else "")
    assert len(engine.loads) == 2


async def test_first_requests_at_once_share_one_load_and_outlive_who_started_it(world, engine):
    name = world.publish()
    engine.load_gate.clear()
    async with world.life(engine) as client:
        first = asyncio.create_task(world.ask(client, "first", model=name))
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(world.ask(client, f"{n}", model=name)) for n in range(5)]
        await asyncio.sleep(0.1)
        listed = await client.call(client.openlora.ListModels, openlora_pb2.ListModelsRequest())
        first.cancel()
        await asyncio.sleep(0.1)
        engine.load_gate.set()
        answers = await asyncio.gather(*others)
    assert listed.models[1].state == openlora_pb2.ADAPTER_STATE_DOWNLOADING
    assert all(answer.summary for answer in answers)
    assert len(engine.loads) == 1


async def test_only_revisions_of_signers_that_count_are_served_where_some_are_named(world, engine):
    name = world.publish()  # signed by nobody
    async with world.life(engine, signers=("0x" + "ab" * 20,)) as client:
        answer = await world.ask(client, model=name)
    assert (answer.reason, answer.error.code) == ("UNTRUSTED_SIGNER", grpc.StatusCode.FAILED_PRECONDITION)
    assert engine.loads == []


async def test_more_adapters_than_there_is_room_for_are_all_answered_and_say_that_they_made_room(world, engine):
    names = [world.publish(f"n{number}") for number in range(5)]
    async with world.life(engine, max_adapters=2, max_active_adapters=2) as client:
        answers = await asyncio.gather(*(world.ask(client, f"{n}", model=names[n % 5]) for n in range(20)))
        listed = await client.call(client.openlora.ListModels, openlora_pb2.ListModelsRequest())
    assert all(answer.summary for answer in answers)
    states = [model.state for model in listed.models[1:]]
    assert states.count(openlora_pb2.ADAPTER_STATE_READY) == 2
    assert states.count(openlora_pb2.ADAPTER_STATE_EVICTED) == 3
    (message, *_) = (m.message for m in listed.models if m.state == openlora_pb2.ADAPTER_STATE_EVICTED)
    assert "made room for adapters/" in message


async def called(client, method: str, name: str) -> openlora_pb2.Adapter:
    request = getattr(openlora_pb2, f"{method}Request")(name=name)
    return await client.call(getattr(client.openlora, method), request)


async def test_operators_pin_adapters_for_this_life_and_the_next(world, engine):
    first, second = (world.publish(f"n{number}") for number in range(2))
    settings = {"operators": (world.wallet.address,), "max_adapters": 2, "max_active_adapters": 1}
    async with world.life(engine, **settings) as client:
        assert (await called(client, "PinAdapter", first)).pinned
        await until(lambda: engine.loads == [first.rpartition("/")[2]])
        with pytest.raises(ApiError) as caught:
            await called(client, "PinAdapter", second)
        assert caught.value.reason == "TOO_MANY_PINNED"
    engine = type(engine)()
    async with world.life(engine, **settings) as client:
        await until(lambda: engine.loads == [first.rpartition("/")[2]])
        adapter = await called(client, "GetAdapter", first)
        assert (adapter.pinned, adapter.state) == (True, openlora_pb2.ADAPTER_STATE_READY)
        assert not (await called(client, "UnpinAdapter", first)).pinned
        assert (await called(client, "PinAdapter", second)).pinned


async def test_nobody_else_pins(world, engine):
    name = world.publish()
    async with world.life(engine) as client:
        for method in ("PinAdapter", "UnpinAdapter"):
            with pytest.raises(ApiError) as caught:
                await called(client, method, name)
            assert (caught.value.reason, caught.value.code) == ("OPERATORS_ONLY", grpc.StatusCode.PERMISSION_DENIED)


async def test_an_adapter_is_told_of_before_anybody_asked_for_it_and_an_unknown_one_is_not(world, engine):
    name = world.publish()
    async with world.life(engine) as client:
        adapter = await called(client, "GetAdapter", name)
        assert (adapter.state, adapter.in_memory, adapter.imported) == (
            openlora_pb2.ADAPTER_STATE_EVICTED,
            False,
            False,
        )
        assert adapter.state_time.seconds
        with pytest.raises(ApiError) as caught:
            await called(client, "GetAdapter", f"adapters/tiny/revisions/{'0' * 64}")
        assert caught.value.reason == "UNKNOWN_ADAPTER"
        listed = await client.call(client.openlora.ListAdapters, openlora_pb2.ListAdaptersRequest())
    assert not listed.adapters


async def test_one_payers_many_adapters_do_not_throw_out_what_another_uses(world, engine):
    mine, *theirs = (world.publish(f"n{number}") for number in range(8))
    other = Wallet.create()
    world.ledger.balances[other.account] = 10**24
    async with world.life(engine, max_adapters=4, max_active_adapters=1) as client, world.client(other) as flood:
        assert (await world.ask(client, model=mine)).summary
        engine.gate.clear()
        asked = [asyncio.create_task(world.ask(flood, model=name)) for name in theirs]
        await until(lambda: len(engine.loads) == 3)
        await asyncio.sleep(0.1)
        engine.gate.set()
        assert (await world.ask(client, model=mine)).summary
        assert all(answer.summary for answer in await asyncio.gather(*asked))
    assert engine.loads.count(mine.rpartition("/")[2]) == 1
    assert len(engine.loads) == 8
