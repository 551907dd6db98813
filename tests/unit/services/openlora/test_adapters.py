"""Adapters: states, failures that are remembered for a while, who makes room for whom, and who is loaded first."""

from __future__ import annotations

import asyncio
import random
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from openledger.artifacts import ArtifactStore
from services.kit.errors import Fault
from services.openlora.adapters import Adapters, State
from services.openlora.engine import AdapterRef, EngineDead, RequestPoisonous
from services.openlora.shelf import Shelf
from tests.fake_engine import FakeEngine
from tests.openlora_world import publish, until

BASE_SHA = "b" * 64


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def adapters(tmp_path: Path, store: ArtifactStore, engine: FakeEngine, clock: Clock) -> Adapters:
    return Adapters(Shelf(store, tmp_path / "unpacked", BASE_SHA, 10**6), engine, places=2, clock=clock)


async def ready(adapters: Adapters, model: str) -> AdapterRef | None:
    async with adapters.hold(model) as hold:
        return await hold.ref()


async def reason(adapters: Adapters, model: str) -> str:
    with pytest.raises(Fault) as caught:
        await ready(adapters, model)
    return caught.value.reason


def states(adapters: Adapters) -> list[State]:
    return [status.state for status in adapters.statuses()]


async def test_base_is_no_adapter(adapters, engine):
    assert await ready(adapters, "base") is None
    assert states(adapters) == []


async def test_an_adapter_is_unpacked_and_loaded_once(adapters, engine, tmp_path, store):
    name = publish(store, base_sha256=BASE_SHA)
    ref = await ready(adapters, name)
    assert await ready(adapters, name) == ref
    assert ref.path == tmp_path / "unpacked" / ref.digest
    assert (ref.path / "adapter_model.safetensors").read_bytes() == b"weights"
    assert engine.loads == [ref.digest]
    assert states(adapters) == [State.READY]


async def test_a_rejected_adapter_is_tried_again_after_a_while(adapters, engine, clock, store):
    name = publish(store, base_sha256=BASE_SHA)
    engine.broken.add(name.rpartition("/")[2])
    assert [await reason(adapters, name) for _ in range(3)] == ["ADAPTER_REJECTED"] * 3
    assert len(engine.loads) == 1
    engine.broken.clear()
    clock.now = 30
    assert await ready(adapters, name)
    assert states(adapters) == [State.READY]


async def test_an_adapter_that_is_published_later_is_found_at_once(adapters, tmp_path, store):
    elsewhere = ArtifactStore(tmp_path / "elsewhere")
    name = publish(elsewhere, base_sha256=BASE_SHA)
    assert await reason(adapters, name) == "UNKNOWN_ADAPTER"
    assert publish(store, base_sha256=BASE_SHA) == name
    assert await ready(adapters, name)


async def test_a_dead_engine_is_not_held_against_the_adapter(adapters, engine, store):
    name = publish(store, base_sha256=BASE_SHA)
    engine.dead = True
    with pytest.raises(EngineDead):
        await ready(adapters, name)
    assert states(adapters) == []
    engine.dead = False
    assert await ready(adapters, name)


async def test_an_adapter_that_the_engine_died_of_is_failed_and_moves_no_others_while_that_is_known(
    adapters, engine, store, monkeypatch
):
    async def refuse(ref: AdapterRef) -> None:
        engine.loads.append(ref.digest)
        raise RequestPoisonous("the engine died of it")

    name = publish(store, base_sha256=BASE_SHA)
    monkeypatch.setattr(engine, "load", refuse)
    assert [await reason(adapters, name) for _ in range(3)] == ["POISONOUS_REQUEST"] * 3
    assert (states(adapters), len(engine.loads)) == ([State.FAILED], 1)


async def test_a_load_goes_on_when_everyone_who_waited_has_left(adapters, engine, store):
    name = publish(store, base_sha256=BASE_SHA)
    engine.load_gate.clear()
    waiting = asyncio.create_task(ready(adapters, name))
    while not states(adapters):
        await asyncio.sleep(0.01)
    assert states(adapters) == [State.LOADING]
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    engine.load_gate.set()
    assert await ready(adapters, name)
    assert len(engine.loads) == 1


@pytest.mark.parametrize("published", (b"not json", b"{}", b'{"version": "openledger.adapter.v1"}'))
async def test_what_is_published_under_a_digest_but_is_no_manifest_is_no_adapter(adapters, published, store):
    digest = store.put(published)
    assert await reason(adapters, f"adapters/tiny/revisions/{digest}") == "UNKNOWN_ADAPTER"


# --- room -----------------------------------------------------------------------------------------------------------


def three(store: ArtifactStore) -> list[str]:
    return [publish(store, f"n{number}", base_sha256=BASE_SHA) for number in range(3)]


def digest(model: str) -> str:
    return model.rpartition("/")[2]


async def test_who_comes_on_top_has_room_made_by_what_was_not_used_for_longest(adapters, engine, store):
    first, second, third = three(store)
    for model in (first, second, first, third):
        await ready(adapters, model)
    assert engine.loaded == {digest(first), digest(third)}
    assert {status.name: status.state for status in adapters.statuses()} == {
        first: State.READY,
        second: State.EVICTED,
        third: State.READY,
    }
    (gone,) = (status for status in adapters.statuses() if status.state is State.EVICTED)
    assert third in gone.message
    assert adapters.counts == {"loaded": 3, "hit": 1, "evicted": 1}


async def test_an_evicted_adapter_comes_back_though_its_folder_is_gone(adapters, engine, store, tmp_path):
    first, second, third = three(store)
    for model in (first, second, third):
        await ready(adapters, model)
    shutil.rmtree(tmp_path / "unpacked")
    ref = await ready(adapters, first)
    assert (ref.path / "adapter_model.safetensors").read_bytes() == b"weights"
    assert digest(first) in engine.loaded


async def test_what_was_changed_on_the_disk_is_made_again_before_the_engine_sees_it(adapters, store, tmp_path):
    first, second, third = three(store)
    for model in (first, second, third):
        await ready(adapters, model)
    file = tmp_path / "unpacked" / digest(first) / "adapter_model.safetensors"
    file.write_bytes(b"changed")
    await ready(adapters, first)
    assert file.read_bytes() == b"weights"


async def test_what_is_held_stays_and_who_comes_waits_until_it_is_let_go(adapters, engine, store):
    first, second, third = three(store)
    async with adapters.hold(second) as other:
        await other.ref()
        async with adapters.hold(first) as hold:
            await hold.ref()
            waiting = asyncio.create_task(ready(adapters, third))
            await asyncio.sleep(0.05)
            assert engine.loaded == {digest(first), digest(second)}
            assert not waiting.done()
        assert (await waiting).digest == digest(third)
    assert engine.loaded == {digest(second), digest(third)}


async def test_what_is_pinned_is_brought_and_stays_until_it_is_unpinned(adapters, engine, store):
    first, second, third = three(store)
    adapters.pin(first)
    await adapters.tend()
    await until(lambda: engine.loaded == {digest(first)})
    for model in (second, third, second):
        await ready(adapters, model)
    assert engine.loaded == {digest(first), digest(second)}
    adapters.unpin(first)
    await ready(adapters, third)
    await ready(adapters, second)
    assert digest(first) not in engine.loaded


async def test_when_the_engine_was_started_anew_nothing_is_ready_and_all_comes_back(adapters, engine, store):
    first = three(store)[0]
    await ready(adapters, first)
    engine.loaded.clear()
    (status,) = adapters.statuses()
    assert (status.state, "started anew" in status.message) == (State.EVICTED, True)
    await ready(adapters, first)
    assert engine.loads == [digest(first)] * 2


async def test_when_the_engine_was_started_anew_all_that_it_had_comes_back_at_once(adapters, engine, store):
    models = three(store)[:2]
    for model in models:
        await ready(adapters, model)
    engine.loaded.clear()
    async with asyncio.timeout(5):
        await asyncio.gather(*(ready(adapters, model) for model in models))
    assert engine.loaded == set(map(digest, models))


async def test_what_was_asked_for_while_the_engine_was_dead_is_not_ready(adapters, engine, store):
    first = three(store)[0]
    await ready(adapters, first)
    engine.loaded.clear()
    engine.dead = True
    with pytest.raises(EngineDead):
        await ready(adapters, first)
    assert states(adapters) == [State.EVICTED]


async def test_a_hold_tells_when_it_is_ready_and_asks_nothing_of_who_waits(adapters, engine, store):
    engine.load_gate.clear()
    async with adapters.hold(three(store)[0]) as hold:
        assert not hold.ready
        engine.load_gate.set()
        await asyncio.wait_for(hold.news.wait(), 5)
        assert hold.ready
    async with adapters.hold("base") as hold:
        assert (hold.ready, await hold.ref()) == (True, None)


async def test_what_most_wait_for_is_loaded_first_and_what_nobody_waits_for_any_more_is_not_loaded(
    store, tmp_path, engine
):
    adapters = Adapters(Shelf(store, tmp_path / "unpacked", BASE_SHA, 10**6), engine, places=9, loads=1)
    models = [publish(store, f"n{number}", base_sha256=BASE_SHA) for number in range(4)]
    engine.load_gate.clear()
    tasks = [asyncio.create_task(ready(adapters, models[0]))]
    await until(adapters.statuses)
    tasks += [asyncio.create_task(ready(adapters, models[n])) for n in (1, 2, 3, 3)]
    await asyncio.sleep(0.1)
    tasks[2].cancel()
    await asyncio.sleep(0.05)
    engine.load_gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert engine.loads == [digest(models[n]) for n in (0, 3, 1)]
    assert models[2] not in {status.name for status in adapters.statuses()}


async def test_many_askers_of_many_adapters_are_all_served_within_the_room_there_is(store, tmp_path, engine):
    adapters = Adapters(Shelf(store, tmp_path / "unpacked", BASE_SHA, 10**6), engine, places=3, loads=2)
    models = [publish(store, f"n{number}", base_sha256=BASE_SHA) for number in range(12)]
    draw, most = random.Random(3), 0

    async def ask(model: str) -> None:
        nonlocal most
        async with adapters.hold(model) as hold:
            ref = await hold.ref()
            for _ in range(draw.randrange(4)):
                await asyncio.sleep(0)
                assert ref.digest in engine.loaded
            most = max(most, len(engine.loaded))

    async with asyncio.timeout(20):
        await asyncio.gather(*(ask(draw.choice(models)) for _ in range(200)))
    assert most == 3
    assert not adapters._users
    assert not adapters._loads


async def test_an_unpublished_name_is_not_remembered(adapters):
    for number in range(5):
        assert await reason(adapters, f"adapters/x/revisions/{number:064x}") == "UNKNOWN_ADAPTER"
    assert states(adapters) == []
    assert not adapters._users


async def test_one_tenants_queue_does_not_take_everybodys_memory(store, tmp_path, engine):
    adapters = Adapters(Shelf(store, tmp_path / "unpacked", BASE_SHA, 10**6), engine, places=4, share=2)
    models = [publish(store, f"n{number}", base_sha256=BASE_SHA) for number in range(8)]
    mine, theirs = models[0], models[1:]
    for _ in range(3):
        await ready(adapters, mine)
    async with AsyncExitStack() as stack:
        holds = [await stack.enter_async_context(adapters.hold(model, "flood")) for model in theirs]
        await until(lambda: sum(hold.ready for hold in holds) == 2)
        await asyncio.sleep(0.05)
        assert len(engine.loaded & set(map(digest, theirs))) == 2
        async with asyncio.timeout(2), adapters.hold(mine, "me") as hold:
            await hold.ref()
        assert engine.loads.count(digest(mine)) == 1, "what others use was thrown out"
        async with asyncio.timeout(2), adapters.hold(theirs[-1], "me") as hold:
            assert (await hold.ref()).digest == digest(theirs[-1])
    assert not adapters._users


async def test_a_tenant_at_its_share_goes_on_as_it_lets_go(store, tmp_path, engine):
    adapters = Adapters(Shelf(store, tmp_path / "unpacked", BASE_SHA, 10**6), engine, places=4, share=1)
    models = [publish(store, f"n{number}", base_sha256=BASE_SHA) for number in range(6)]

    async def ask(model: str) -> None:
        async with adapters.hold(model, "flood") as hold:
            assert (await hold.ref()).digest == digest(model)

    async with asyncio.timeout(10):
        await asyncio.gather(*map(ask, models * 3))
    assert set(engine.loads) == set(map(digest, models))
