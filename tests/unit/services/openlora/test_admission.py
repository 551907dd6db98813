"""Who is let in, whose turn it is, and what whoever is sent away is told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from services.kit.errors import Fault
from services.openlora.admission import Admission, Ask, Bounds
from services.openlora.fair import REPLAY
from services.openlora.plan import Planner
from tests.turns_world import STEP, Ready, Turns, settle, taken

A, B, C = (Ask(tenant, "base", 3, 5) for tenant in "abc")
ONE = Ask("a", "adapters/one/revisions/1", 3, 5)
TWO = Ask("a", "adapters/two/revisions/2", 3, 5)


@pytest.fixture
async def begin():
    """Begins taking turns, until the test is over."""
    tasks, end = [], asyncio.Event()

    async def begin(admission: Admission, *asks: Ask, order: list[Ask] | None = None) -> list[asyncio.Task]:
        tasks.extend(asyncio.create_task(taken(admission, ask, end, order)) for ask in asks)
        await settle()
        return tasks[-len(asks) :]

    yield begin
    end.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(
        isinstance(result, Fault | asyncio.CancelledError) for result in results if isinstance(result, BaseException)
    )


def refused(admission: Admission, ask: Ask) -> Fault:
    with pytest.raises(Fault) as caught, admission.enter(ask):
        pass
    return caught.value


async def test_no_more_than_its_places_are_given_and_given_again_when_free(begin):
    admission = Admission(Bounds(1, 1))
    await begin(admission, A)
    with admission.enter(A):
        fault = refused(admission, A)
        assert (fault.reason, fault.retry_after) == ("QUEUE_FULL", 2)
    with admission.enter(A):
        assert (admission.running, admission.queued) == (1, 1)


async def test_turns_of_one_tenant_come_one_after_the_other_and_return_when_their_holder_fails():
    admission, order = Admission(Bounds(2, 10)), list[int]()

    async def go(number: int) -> None:
        with admission.enter(A) as place:
            async with place.turn(Ready()):
                order.append(number)
                assert admission.running <= 2
                await asyncio.sleep(0.01)
                if number % 2:
                    raise ValueError(number)

    results = await asyncio.gather(*(go(n) for n in range(8)), return_exceptions=True)
    assert order == list(range(8))
    assert [isinstance(result, ValueError) for result in results] == [False, True] * 4
    assert (admission.running, admission.queued) == (0, 0)


async def test_whoever_leaves_the_queue_leaves_its_place(begin):
    admission = Admission(Bounds(1, 1))
    await begin(admission, A)
    [waiting] = await begin(admission, A)
    assert admission.queued == 1
    waiting.cancel()
    await settle()
    assert (admission.running, admission.queued) == (1, 0)


@pytest.mark.parametrize("leaves", ("before its turn", "after"))
async def test_a_turn_that_comes_in_the_moment_in_which_its_holder_leaves_goes_to_the_next(begin, leaves):
    admission, order, end = Admission(Bounds(1, 5)), list[Ask](), asyncio.Event()

    async def first() -> None:
        await taken(admission, A, end)
        if leaves == "after":  # it was given the turn just now, and did not hear of it yet
            second.cancel()

    going = asyncio.create_task(first())
    await settle()
    [second] = await begin(admission, A)
    await begin(admission, B, order=order)
    end.set()
    if leaves != "after":
        second.cancel()
    await going
    await settle()
    assert second.cancelled()
    assert order == [B]
    assert (admission.running, admission.queued) == (1, 0)


async def test_a_turn_waits_for_its_adapter_and_is_not_had_without_one(begin):
    admission, loaded = Admission(Bounds(1, 5)), asyncio.get_running_loop().create_future()

    class Loading:
        ready = False

        async def ref(self) -> None:
            await loaded

    async def go() -> None:
        with admission.enter(ONE) as place:
            async with place.turn(Loading()):
                raise AssertionError("there is no turn to have")

    going = asyncio.create_task(go())
    await settle()
    order = list[Ask]()
    await begin(admission, A, order=order)
    assert order == [A]
    assert admission.queued == 1
    loaded.set_exception(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await going
    assert admission.queued == 0


async def test_the_tenant_that_was_served_least_is_next():
    turns = Turns(Bounds(1, 100))
    order: list[str] = []

    async def ask(tenant: str) -> float:
        waited = await turns.ask(tenant)
        order.append(tenant)
        return waited

    await turns.run(ask(tenant) for tenant in "aaaaaaaabb")
    assert order[:4] in (list("abab"), list("abba"))


async def test_a_spare_turn_is_for_a_tenant_that_has_none(begin):
    admission, order = Admission(Bounds(2, 10, spare=1)), list[Ask]()
    await begin(admission, A, A, A, order=order)
    assert admission.running == 2
    await begin(admission, B, B, C, order=order)
    assert order == [A, A, B]
    assert (admission.running, admission.queued) == (3, 3)


async def test_spare_turns_are_for_tenants_that_have_less_than_an_equal_part(begin):
    admission, order = Admission(Bounds(4, 20, spare=4)), list[Ask]()
    await begin(admission, *[A] * 6, order=order)
    assert order == [A] * 4  # its part while it is alone
    await begin(admission, B, B, B, order=order)
    assert order[4:] == [B, B]  # half of four
    await begin(admission, C, C, order=order)
    assert order[6:] == [C]  # a third of four
    assert (admission.running, admission.queued) == (7, 4)


async def test_while_others_are_here_a_tenants_prompts_are_read_a_few_at_a_time(begin):
    long = Ask("a", "base", 30, 5)
    admission = Admission(Bounds(8, 20, reading=60))
    await begin(admission, long, long, long)
    first, second, _ = admission._places
    assert admission.running == 3  # nobody else is here
    await begin(admission, B, long)
    assert (admission.running, admission.queued) == (4, 1)
    first.made(1)
    assert (admission.running, admission.queued) == (4, 1)  # of two the reading goes on
    second.made(1)
    assert (admission.running, admission.queued) == (5, 0)
    await begin(admission, Ask("a", "base", 100, 5))
    assert admission.queued == 1


@pytest.mark.parametrize("lacks", ("an adapter", "money"))
async def test_who_cannot_have_a_turn_yet_takes_nobodys_part(begin, lacks):
    """Neither of turns nor of what is read at once: it may wait for long."""
    admission, never = Admission(Bounds(4, 20, spare=2, reading=5)), asyncio.Event()

    class Loading:
        ready = False

        async def ref(self) -> None:
            await never.wait()

    async def wait() -> None:
        with admission.enter(B) as place:
            if lacks == "money":
                await never.wait()
            async with place.turn(Loading()):
                pass

    waiting = asyncio.create_task(wait())
    await settle()
    await begin(admission, A, A, A, A, A)
    assert (admission.running, admission.queued) == (4, 2)
    order = list[Ask]()
    await begin(admission, C, C, C, order=order)
    assert order == [C]  # of two, not of three: half of four, of which one prompt is being read
    reading = next(place for place in admission._places if place.tenant == "c" and place.running)
    reading.made(1)
    await settle()
    assert order == [C, C]
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_prompt_that_is_longer_than_what_is_read_at_once_is_read_alone(begin):
    admission = Admission(Bounds(8, 20, reading=60))
    await begin(admission, B, Ask("a", "base", 100, 5), A)
    assert (admission.running, admission.queued) == (2, 1)


async def test_replays_get_no_spare_turn(begin):
    admission = Admission(Bounds(1, 10, spare=1))
    await begin(admission, A, Ask(REPLAY, "base", 1, 1))
    assert (admission.running, admission.queued) == (1, 1)


async def test_a_tenant_has_no_more_turns_than_it_may(begin):
    admission, order = Admission(Bounds(3, 10, running_per_tenant=2)), list[Ask]()
    await begin(admission, A, A, A, B, order=order)
    assert order == [A, A, B]
    assert (admission.running, admission.queued) == (3, 1)


async def test_no_more_adapters_are_generated_with_than_there_are_slots(begin):
    admission = Admission(Bounds(4, 10, slots=1))
    await begin(admission, ONE, TWO, ONE, A)
    assert list(admission.active) == [ONE.model]
    assert (admission.running, admission.queued) == (3, 1)
    assert admission.queue == [TWO]


async def test_of_a_tenant_and_of_an_adapter_only_so_many_wait(begin):
    admission = Admission(Bounds(1, 10, slots=1, queued_per_tenant=3, queued_per_adapter=2))
    await begin(admission, ONE, ONE, TWO, TWO)
    assert refused(admission, A).reason == "TENANT_BUSY"
    assert refused(admission, Ask("b", TWO.model, 1, 1)).reason == "ADAPTER_BUSY"
    await begin(admission, B, B, Ask("b", ONE.model, 1, 1))
    assert admission.queued == 6


async def test_nobody_fills_the_queue_against_others(begin):
    admission = Admission(Bounds(1, 3))
    await begin(admission, A)
    waiting = await begin(admission, A, A, A)
    assert refused(admission, Ask(REPLAY, "base", 1, 1)).reason == "QUEUE_FULL"
    [other] = await begin(admission, B)
    assert [task.done() for task in (*waiting, other)] == [False, False, True, False]
    fault = waiting[-1].exception()
    assert (fault.reason, fault.retry_after) == ("QUEUE_FULL", 2)
    assert "made room" in fault.message
    assert (admission.running, admission.queued) == (1, 3)
    assert refused(admission, B).reason == "QUEUE_FULL"
    assert refused(admission, A).reason == "QUEUE_FULL"


async def test_who_waits_for_its_adapter_makes_room_too_and_hears_of_it_at_once(begin):
    admission, never = Admission(Bounds(1, 2)), asyncio.Event()

    class Loading:
        ready = False

        async def ref(self) -> None:
            await never.wait()

    async def wait() -> None:
        with admission.enter(A) as place:
            async with place.turn(Loading()):
                pass

    await begin(admission, A)
    loading = [asyncio.create_task(wait()) for _ in range(2)]
    await settle()
    [other] = await begin(admission, B)
    assert [task.done() for task in (*loading, other)] == [False, True, False]
    assert loading[1].exception().reason == "QUEUE_FULL"
    assert (admission.running, admission.queued) == (1, 2)
    loading[0].cancel()
    await settle()
    assert (admission.running, admission.queued) == (1, 1)


async def test_who_has_no_money_yet_does_not_fill_the_queue_against_others(begin):
    admission = Admission(Bounds(1, 2))
    await begin(admission, A)
    with admission.enter(A), admission.enter(A) as poor:
        await begin(admission, B)
        with pytest.raises(Fault, match="made room"):
            async with poor.turn(Ready()):
                pass
    assert (admission.running, admission.queued) == (1, 1)


async def test_when_who_a_slot_was_cleared_for_leaves_it_is_used_again_at_once(begin):
    admission = Admission(Bounds(2, 9, slots=1, slot_seconds=0))
    await begin(admission, ONE)
    [leaving] = await begin(admission, Ask("b", TWO.model, 3, 5))
    await begin(admission, ONE)
    assert admission.running == 1
    leaving.cancel()
    await settle()
    assert (admission.running, admission.queued) == (2, 0)


@pytest.mark.parametrize(
    ("tenants", "queued_per_tenant", "reason", "seconds"),
    # Of two tenants each has every other turn.
    (("aaaaa", 9, "QUEUE_FULL", 4 * 2), ("aaaa", 3, "TENANT_BUSY", 3 * 2), ("aaabb", 3, "TENANT_BUSY", 3 * 2 * 2)),
)
async def test_advice_follows_from_how_fast_answers_come_to_their_end(tenants, queued_per_tenant, reason, seconds):
    turns, faults = Turns(Bounds(1, 4, queued_per_tenant=queued_per_tenant)), list[Fault]()

    async def late() -> float:
        await turns.pause(20)
        while sum(ask.tenant == "a" for ask in turns.admission.queue) < 3:
            await turns.step()
        faults.append(refused(turns.admission, A))
        return 0

    async def forever(tenant: str) -> float:
        while True:
            await turns.ask(tenant, tokens=40)  # two seconds

    await turns.run([*(forever(tenant) for tenant in tenants), late()], seconds=30)
    assert [(fault.reason, fault.retry_after) for fault in faults] == [(reason, pytest.approx(seconds, rel=0.2))]


async def test_what_is_generated_is_seen_with_the_time_that_it_took():
    now, seen = [0.0], []
    admission = Admission(Bounds(1, 1), lambda *what: seen.append(what), lambda: now[0])
    with admission.enter(ONE) as place:
        async with place.turn(Ready()):
            for seconds, tokens in ((5, 1), (0.5, 1), (0, 0), (1, 4)):
                now[0] += seconds
                place.made(tokens)
    assert seen == [(ONE.model, 1, None), (ONE.model, 1, 0.5), (ONE.model, 4, 0.25)]


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_leaves_when_nothing_of_anybody_stays(seed):
    """500 requests of which every other is broken off, at any moment, by its asker or by a fault."""
    bounds = Bounds(4, 20, slots=2, spare=1, running_per_tenant=3, reading=15)
    turns, chance = Turns(bounds), random.Random(seed)
    outcomes = Counter[str]()

    async def one(number: int) -> float:
        await turns.pause(chance.uniform(0, 15))
        tenant, model = f"{number % 7}", chance.choice(("base", "adapters/1", "adapters/2", "adapters/3"))
        asking = asyncio.create_task(turns.ask(tenant, model, tokens=chance.randint(1, 8)))
        if chance.random() < 0.5:
            await turns.pause(chance.expovariate(2))
            asking.cancel()
        [result] = await asyncio.gather(asking, return_exceptions=True)
        outcomes[type(result).__name__] += 1
        return 0

    await turns.run(one(number) for number in range(500))
    assert set(outcomes) == {"float", "CancelledError", "Fault"}
    admission = turns.admission
    assert (admission.running, admission.queued, list(admission.active)) == (0, 0, [])
    assert (admission._waiting, admission._turns, admission._reading, len(admission._fair)) == ({}, {}, {}, 0)
    assert max(turns.running) <= 5


class FirstCome(Planner):
    """What a queue does: whoever waits for a slot keeps all behind it waiting."""

    def choose(self, waiting, now, may):
        first = min(waiting, key=lambda place: place.number, default=None)
        return first if first and self._can_begin(first.adapter) and may(first) else None


async def many(turns: Turns, *, adapters: int, tenants: int) -> list[float]:
    """1,024 answers, 128 at a time, of adapters by Zipf's law; seconds to each one's first token."""
    chance = random.Random(7)
    weights = [1 / rank for rank in range(1, adapters + 1)]
    waited: list[float] = []

    async def asker(number: int) -> float:
        for _ in range(8):
            model = f"adapters/{chance.choices(range(adapters), weights)[0]}"
            waited.append(await turns.ask(f"{number % tenants}", model, tokens=chance.randint(10, 60)))
        return 0

    await turns.run(asker(number) for number in range(128))
    assert len(waited) == 128 * 8
    return waited


@pytest.mark.parametrize(("adapters", "slots"), ((1000, 4), (64, 8)))
async def test_many_adapters_share_few_slots_and_all_are_served(adapters, slots):
    bounds = Bounds(16, 128, slots=slots)
    planned, first_come = Turns(bounds), Turns(bounds)
    first_come.admission._planner = FirstCome(slots, 0)
    waited = await many(planned, adapters=adapters, tenants=8)
    await many(first_come, adapters=adapters, tenants=8)
    tokens = sum(planned.tokens.values())
    assert max(waited) < 120
    assert planned.changes / tokens < 0.7 * first_come.changes / sum(first_come.tokens.values())
    assert tokens / len(planned.running) > 1.3 * sum(first_come.tokens.values()) / len(first_come.running)


async def test_two_tenants_that_both_ask_too_much_get_the_same_whatever_each_asks():
    turns = Turns(Bounds(16, 128, spare=2))
    chance = random.Random(3)

    async def forever(tenant: str) -> float:
        while True:
            await turns.ask(tenant, tokens=chance.randint(10, 60), prompt=chance.randint(5, 200))

    await turns.run([*(forever("much") for _ in range(100)), *(forever("little") for _ in range(20))], seconds=120)
    assert jain(turns.tokens.values()) > 0.99


@pytest.mark.parametrize(("shortest", "longest"), ((10, 60), (30, 30)))
async def test_who_asks_little_hardly_notices_who_asks_ten_times_as_much(shortest, longest):
    """It asks for a fifth of what sixteen turns give; those of the others may all end at once."""

    async def late(crowd: int) -> list[float]:
        turns, chance = Turns(Bounds(16, 128, spare=8, reading=64), read=0.002), random.Random(5)
        waits: list[float] = []

        async def little(number: int, each: float = 30 * STEP / 16 / 0.2) -> float:
            await turns.pause(number * each + chance.uniform(0, each))
            waits.append(await turns.ask("little", tokens=30, prompt=40))
            return 0

        async def forever() -> float:
            while len(waits) < 200:
                await turns.ask("much", tokens=chance.randint(shortest, longest), prompt=40)
            return 0

        await turns.run([*map(little, range(200)), *(forever() for _ in range(crowd))])
        return sorted(waits)

    alone, crowded = await late(0), await late(64)
    assert crowded[198] <= 1.5 * alone[198]


def jain(served) -> float:
    """Jain's index: 1 when all got the same."""
    served = list(served)
    return sum(served) ** 2 / len(served) / sum(each**2 for each in served)
