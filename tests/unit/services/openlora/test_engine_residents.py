"""Adapters come beside each other, take turns for room, and go when nobody uses them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.openlora.engine import AdapterRef, AdapterRejected, EngineDead
from services.openlora.engine_residents import Residents


def adapter(name: str) -> AdapterRef:
    return AdapterRef(name, Path(name))


A, B, C = map(adapter, "abc")


class Shelf:
    """Holds what it is told to; `slow` adapters are prepared once their event is set."""

    def __init__(self) -> None:
        self.slow: dict[str, asyncio.Event] = {}
        self.bad: set[str] = set()
        self.names: dict[int, str] = {}
        self.prepared: list[str] = []
        self.held: list[str] = []
        self.most = 0

    async def prepare(self, adapter: AdapterRef, number: int) -> None:
        self.names[number] = adapter.digest
        self.prepared.append(adapter.digest)
        if adapter.digest in self.slow:
            await self.slow[adapter.digest].wait()
        if adapter.digest in self.bad:
            raise AdapterRejected("broken")

    async def take(self, number: int) -> None:
        await asyncio.sleep(0)
        self.held.append(self.names[number])
        self.most = max(self.most, len(self.held))

    async def drop(self, number: int) -> None:
        self.held.remove(self.names[number])
        await asyncio.sleep(0)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def residents(shelf: Shelf) -> Residents:
    return Residents(shelf, 2)


async def use(residents: Residents, ref: AdapterRef) -> int:
    async with residents.using(ref) as number:
        return number


async def soon(task: asyncio.Task[int]) -> bool:
    for _ in range(20):
        await asyncio.sleep(0)
    return task.done()


async def test_many_who_ask_at_once_cause_one_load(shelf, residents):
    assert len(set(await asyncio.gather(*(use(residents, A) for _ in range(5))))) == 1
    assert shelf.prepared == ["a"]
    assert residents.digests() == {"a"}


async def test_what_is_there_does_not_wait_for_what_is_read(shelf, residents):
    await use(residents, A)
    shelf.slow["b"] = asyncio.Event()
    cold = asyncio.create_task(use(residents, B))
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await use(residents, A)
        await use(residents, C)
    assert not cold.done()
    shelf.slow["b"].set()
    await cold


async def test_what_is_there_does_not_wait_for_who_waits_for_room(shelf, residents):
    async with residents.using(A), residents.using(B):
        third = asyncio.create_task(use(residents, C))
        assert not await soon(third)
        async with asyncio.timeout(1):
            await use(residents, A)
    await third
    assert shelf.most == 2


async def test_the_longest_unused_makes_room(shelf, residents):
    for ref in (A, B, A, C):
        await use(residents, ref)
    assert sorted(shelf.held) == ["a", "c"]


async def test_never_one_that_is_used(shelf, residents):
    async with residents.using(A):
        for ref in (B, C, B, C):
            await use(residents, ref)
            assert "a" in shelf.held
    assert shelf.most == 2


async def test_a_hundred_at_random_never_pass_the_limit_and_all_are_served(shelf, residents):
    async def visit(number: int) -> None:
        await asyncio.sleep(0)
        ref = adapter(str(number * 7 % 11))
        async with residents.using(ref) as held:
            for _ in range(number % 5):
                await asyncio.sleep(0)
                assert shelf.names[held] == ref.digest
                assert ref.digest in shelf.held

    async with asyncio.timeout(5):
        await asyncio.gather(*(visit(number) for number in range(100)))
    assert shelf.most == 2
    assert residents.digests() == set(shelf.held)


async def test_a_broken_one_is_refused_to_all_who_wait_and_tried_again_by_the_next(shelf, residents):
    shelf.bad.add("a")
    results = await asyncio.gather(*(use(residents, A) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [AdapterRejected] * 3
    assert shelf.prepared == ["a"]
    shelf.bad.clear()
    await use(residents, A)
    assert residents.digests() == {"a"}


async def test_who_leaves_while_it_comes_stops_nothing_and_holds_nothing(shelf, residents):
    shelf.slow["a"] = asyncio.Event()
    leaving, staying = (asyncio.create_task(use(residents, A)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    shelf.slow["a"].set()
    await staying
    await use(residents, B)
    await use(residents, C)
    assert sorted(shelf.held) == ["b", "c"]


async def test_unload_lets_go_of_the_unused_alone(shelf, residents):
    await use(residents, A)
    async with residents.using(B):
        await residents.unload("a")
        await residents.unload("b")
        await residents.unload("nobody's")
        assert residents.digests() == {"b"}
    await use(residents, A)
    assert shelf.prepared == ["a", "b", "a"]


async def test_at_the_end_whoever_waits_hears_that_the_engine_is_closed(shelf, residents):
    shelf.slow["a"] = asyncio.Event()
    waiting = asyncio.create_task(use(residents, A))
    await asyncio.sleep(0)
    await residents.close()
    with pytest.raises(EngineDead):
        await waiting
