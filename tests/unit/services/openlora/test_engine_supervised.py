"""A dead engine is replaced, those who were in it can ask again, and the request that kills it is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from services.openlora.engine import (
    AdapterRef,
    EngineDead,
    EngineDelta,
    EngineRequest,
    FinishReason,
    RequestPoisonous,
    Sampling,
)
from services.openlora.engine_supervised import SupervisedEngine
from services.openlora.suspects import request_mark
from tests.fake_engine import FakeEngine

POISON = (99,)


class Mortal(FakeEngine):
    """Dies of one prompt, and of one adapter."""

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        async with aclosing(super().generate(request)) as deltas:
            async for delta in deltas:
                self.dead |= request.prompt_token_ids == POISON
                yield delta

    async def load(self, adapter: AdapterRef) -> None:
        self.dead |= adapter.digest == "poison"
        await super().load(adapter)


class World:
    """Engines that are opened one after the other, under a clock that the test turns."""

    def __init__(self) -> None:
        self.now, self.open_seconds, self.given_up = 0.0, 12.0, 0
        self.engines = [Mortal()]
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.refusals: list[Exception] = []
        self.engine = SupervisedEngine(self.last, self.reopen, self.give_up, took=12.0, clock=lambda: self.now)

    @property
    def last(self) -> Mortal:
        return self.engines[-1]

    async def reopen(self) -> Mortal:
        await self.may_open.wait()
        if self.refusals:
            raise self.refusals.pop(0)
        self.now += self.open_seconds
        self.engines.append(Mortal())
        return self.last

    def give_up(self) -> None:
        self.given_up += 1

    async def ask(self, prompt: tuple[int, ...] = (5, 6), name: str = "r") -> str:
        tokens = 0
        async with aclosing(self.engine.generate(EngineRequest(name, prompt, Sampling(4)))) as deltas:
            async for delta in deltas:
                tokens += len(delta.token_ids)
        return f"{tokens} tokens"

    async def outcome(self, prompt: tuple[int, ...] = (5, 6), name: str = "r") -> str:
        try:
            return await self.ask(prompt, name)
        except (EngineDead, RequestPoisonous) as error:
            return type(error).__name__

    async def up(self, number: int) -> None:
        async with asyncio.timeout(5):
            while len(self.engines) < number or not await self.healthy():
                await asyncio.sleep(0)

    async def healthy(self) -> bool:
        try:
            await self.engine.health()
        except EngineDead:
            return False
        return True


@pytest.fixture
def world() -> World:
    return World()


async def test_a_dead_engine_is_replaced_and_the_same_request_is_answered(world):
    world.last.gate.clear()
    running = asyncio.create_task(world.outcome())
    while not world.last.running:
        await asyncio.sleep(0)
    world.last.dead = True
    world.last.gate.set()
    assert await running == "EngineDead"
    await world.up(2)
    assert await world.ask() == "4 tokens"


async def test_until_it_is_back_everybody_hears_when_that_may_be(world):
    world.may_open.clear()
    world.last.dead = True
    assert not await world.healthy()
    world.now += 2
    with pytest.raises(EngineDead, match="another one is being started") as refused:
        await world.ask()
    assert refused.value.retry_after == 10
    assert world.engine.resident() == frozenset()
    await world.engine.unload("a")
    await world.engine.abort("r")
    assert world.engine.tokenize("a") == (3 + ord("a"),)
    world.may_open.set()
    await world.up(2)


async def test_one_death_is_one_restart_however_many_notice(world):
    world.last.gate.clear()
    running = [asyncio.create_task(world.outcome((5, n), f"r{n}")) for n in range(5)]
    while len(world.last.running) < 5:
        await asyncio.sleep(0)
    world.last.dead = True
    world.last.gate.set()
    assert not await world.healthy()
    assert await asyncio.gather(*running) == ["EngineDead"] * 5
    await world.up(2)
    await asyncio.sleep(0.01)
    assert len(world.engines) == 2


async def test_an_engine_that_does_not_start_is_tried_again(world, monkeypatch):
    monkeypatch.setattr("services.openlora.engine_supervised._BACKOFF_FIRST", 0.01)
    world.refusals = [EngineDead("no memory"), OSError("no file")]
    world.last.dead = True
    assert not await world.healthy()
    await world.up(2)
    assert await world.ask() == "4 tokens"


async def test_the_poison_is_found_and_nobody_who_was_beside_it(world):
    async def outcome_with_poison() -> list[str]:
        return await asyncio.gather(*(world.outcome((5, n), f"r{n}") for n in range(3)), world.outcome(POISON, "p"))

    assert await outcome_with_poison() == ["EngineDead"] * 4
    refused = False
    for number in range(2, 6):
        await world.up(number)
        poison = await world.outcome(POISON, "p")
        if refused := poison == "RequestPoisonous":
            break
        world.now += 60
    assert refused
    assert len(world.engines) == 4, "two deaths alone are proof"
    for n in range(3):
        assert await world.ask((5, n), f"r{n}") == "4 tokens"
    assert await world.outcome(POISON, "p2") == "RequestPoisonous", "by what it asks, not by its id"
    assert world.given_up == 0


async def test_suspects_are_let_in_one_at_a_time_and_newcomers_beside_them(world):
    world.last.gate.clear()
    suspects = [asyncio.create_task(world.outcome((5, n), f"r{n}")) for n in range(3)]
    while len(world.last.running) < 3:
        await asyncio.sleep(0)
    world.last.dead = True
    world.last.gate.set()
    await asyncio.gather(*suspects)
    await world.up(2)
    world.last.gate.clear()
    again = [asyncio.create_task(world.outcome((5, n), f"r{n}")) for n in range(3)]
    newcomer = asyncio.create_task(world.outcome((7,), "n"))
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(world.last.running) == 2
    assert "n" in world.last.running
    again[2].cancel()
    world.last.gate.set()
    assert await asyncio.gather(*again[:2], newcomer) == ["4 tokens"] * 3
    assert world.last.most_running == 2


async def test_who_waits_to_be_let_in_hears_that_the_engine_died(world):
    await test_suspects_are_let_in_one_at_a_time_and_newcomers_beside_them(world)
    world.last.gate.clear()
    first = asyncio.create_task(world.outcome((5, 2), "r2"))
    while not world.last.running:
        await asyncio.sleep(0)
    second = asyncio.create_task(world.outcome((5, 2), "r2 again"))
    await asyncio.sleep(0)
    world.may_open.clear()
    world.last.dead = True
    world.last.gate.set()
    assert await asyncio.gather(first, second) == ["EngineDead"] * 2
    world.may_open.set()
    await world.up(3)


async def test_when_who_must_be_alone_leaves_those_behind_it_come_in_at_once(world):
    suspects, mark = world.engine._suspects, request_mark(EngineRequest("", (8,), Sampling(4)))
    for inside in (mark, b"somebody"):
        suspects.enter(inside)
    for _ in range(2):
        suspects.died(0.0)
    for inside in (mark, b"somebody"):
        suspects.leave(inside)
    world.last.gate.clear()
    first, alone, behind = (asyncio.create_task(world.ask((n,), f"{n}")) for n in (7, 8, 9))
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.last.running == {"7"}
    alone.cancel()
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.last.running == {"7", "9"}
    world.last.gate.set()
    await asyncio.gather(first, behind)


async def test_an_adapter_that_kills_is_kept_out(world):
    poison, sound = AdapterRef("poison", Path("p")), AdapterRef("sound", Path("s"))
    for number in (2, 3):
        with pytest.raises(EngineDead):
            await world.engine.load(poison)
        await world.up(number)
        await world.engine.load(sound)
    with pytest.raises(RequestPoisonous, match="for 588 seconds"):
        await world.engine.load(poison)


async def test_five_deaths_within_a_minute_are_not_healed_here(world):
    world.open_seconds = 1.0
    for number in range(2, 6):
        world.last.dead = True
        assert not await world.healthy()
        await world.up(number)
        assert world.given_up == 0
    world.last.dead = True
    assert not await world.healthy()
    assert world.given_up == 1
    await asyncio.sleep(0.01)
    assert len(world.engines) == 5
    assert await world.outcome() == "EngineDead"


async def test_deaths_that_are_far_apart_are_healed_for_ever(world):
    for number in range(2, 20):
        world.last.dead = True
        assert not await world.healthy()
        await world.up(number)
        world.now += 20
    assert world.given_up == 0


async def test_closing_waits_for_an_engine_on_its_way_and_closes_it(world):
    world.may_open.clear()
    world.last.dead = True
    assert not await world.healthy()
    closing = asyncio.create_task(world.engine.close())
    await asyncio.sleep(0)
    world.may_open.set()
    await closing
    assert len(world.engines) == 2
    assert world.last.dead


async def test_after_closing_nothing_is_opened(world):
    await world.engine.close()
    assert await world.outcome() == "EngineDead"
    await asyncio.sleep(0.01)
    assert len(world.engines) == 1


async def test_whoever_stops_listening_is_no_longer_inside(world):
    async with aclosing(world.engine.generate(EngineRequest("r", (5, 6), Sampling(4)))) as deltas:
        assert (await anext(deltas)).finish_reason is not FinishReason.STOP
    assert world.last.aborted == ["r"]
    world.last.dead = True
    assert not await world.healthy()
    await world.up(2)
    assert await asyncio.gather(world.ask(name="a"), world.ask(name="b")) == ["4 tokens"] * 2
    assert world.last.most_running == 2, "nobody was inside when it died, so nobody is suspect"
