"""Adapters: states, failures that are remembered for a while, and loads that go on without who began them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openledger.artifacts import ArtifactStore
from services.kit.errors import Fault
from services.openlora.adapters import Adapters, State
from services.openlora.engine import EngineDead
from tests.fake_engine import FakeEngine
from tests.openlora_world import publish

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
    return Adapters(store, tmp_path / "unpacked", BASE_SHA, engine, clock)


async def reason(adapters: Adapters, model: str) -> str:
    with pytest.raises(Fault) as caught:
        await adapters.ready(model)
    return caught.value.reason


def states(adapters: Adapters) -> list[State]:
    return [status.state for status in adapters.statuses()]


async def test_base_is_no_adapter(adapters, engine):
    assert await adapters.ready("base") is None
    assert states(adapters) == []


async def test_an_adapter_is_unpacked_and_loaded_once(adapters, engine, tmp_path, store):
    name = publish(store, base_sha256=BASE_SHA)
    ref = await adapters.ready(name)
    assert await adapters.ready(name) == ref
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
    assert await adapters.ready(name)
    assert states(adapters) == [State.READY]


async def test_an_adapter_that_is_published_later_is_found_at_once(adapters, tmp_path, store):
    elsewhere = ArtifactStore(tmp_path / "elsewhere")
    name = publish(elsewhere, base_sha256=BASE_SHA)
    assert await reason(adapters, name) == "UNKNOWN_ADAPTER"
    assert publish(store, base_sha256=BASE_SHA) == name
    assert await adapters.ready(name)


async def test_a_dead_engine_is_not_held_against_the_adapter(adapters, engine, store):
    name = publish(store, base_sha256=BASE_SHA)
    engine.dead = True
    with pytest.raises(EngineDead):
        await adapters.ready(name)
    assert states(adapters) == []
    engine.dead = False
    assert await adapters.ready(name)


async def test_a_load_goes_on_when_everyone_who_waited_has_left(adapters, engine, store):
    name = publish(store, base_sha256=BASE_SHA)
    engine.load_gate.clear()
    waiting = asyncio.create_task(adapters.ready(name))
    while not states(adapters):
        await asyncio.sleep(0.01)
    assert states(adapters) == [State.LOADING]
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    engine.load_gate.set()
    assert await adapters.ready(name)
    assert len(engine.loads) == 1


@pytest.mark.parametrize("published", (b"not json", b"{}", b'{"version": "openledger.adapter.v1"}'))
async def test_what_is_published_under_a_digest_but_is_no_manifest_is_no_adapter(adapters, published, store):
    digest = store.put(published)
    assert await reason(adapters, f"adapters/tiny/revisions/{digest}") == "UNKNOWN_ADAPTER"
