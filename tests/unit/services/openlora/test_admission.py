"""Places, turns, and nothing at all while the disk is full."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.kit.database import Database
from services.kit.errors import Fault, invalid
from services.openlora.__main__ import MIGRATIONS
from services.openlora.adapters import Hold
from services.openlora.admission import Admission, Ask, Space

ASK = Ask("accounts/0x" + "a" * 40, "base", 3, 5)


def held() -> Hold:
    async def nothing() -> None:
        return None

    return Hold(asyncio.create_task(nothing()))


async def test_no_more_than_its_places_are_given_and_given_again_when_free():
    admission = Admission(1, 1)
    with admission.enter(ASK):
        with admission.enter(ASK), pytest.raises(Fault) as caught, admission.enter(ASK):
            pass
        assert (caught.value.reason, caught.value.retry_after) == ("QUEUE_FULL", 2)
        with admission.enter(ASK):
            assert admission.queued == 2


async def test_turns_come_one_after_the_other_and_return_when_their_holder_fails():
    admission, order = Admission(2, 10), list[int]()

    async def go(number: int) -> None:
        with admission.enter(ASK) as place:
            async with place.turn(held()):
                order.append(number)
                assert admission.running <= 2
                await asyncio.sleep(0.01)
                if number % 2:
                    raise ValueError(number)

    results = await asyncio.gather(*(go(n) for n in range(8)), return_exceptions=True)
    assert order == list(range(8))
    assert [isinstance(result, ValueError) for result in results] == [False, True] * 4
    assert (admission.running, admission.queued) == (0, 0)


async def test_whoever_leaves_the_queue_leaves_its_place():
    admission = Admission(1, 1)

    async def wait() -> None:
        with admission.enter(ASK) as place:
            async with place.turn(held()):
                raise AssertionError("there is no turn to have")

    with admission.enter(ASK) as place:
        async with place.turn(held()):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0.01)
            assert admission.queued == 1
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    assert (admission.running, admission.queued) == (0, 0)


async def test_a_turn_waits_for_its_adapter_and_is_not_had_without_one():
    admission, adapter = Admission(1, 1), asyncio.get_running_loop().create_future()

    async def load() -> None:
        await adapter

    hold = Hold(asyncio.create_task(load()))
    with admission.enter(ASK) as place:

        async def go() -> None:
            async with place.turn(hold):
                raise AssertionError("there is no turn to have")

        going = asyncio.create_task(go())
        await asyncio.sleep(0.01)
        assert (admission.running, hold.ready) == (0, False)
        adapter.set_exception(ValueError("broken"))
        with pytest.raises(ValueError, match="broken"):
            await going
    assert hold.news.is_set()


@pytest.fixture
def database(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/openlora.db")
    database.migrate(MIGRATIONS)
    yield database
    database.close()


def limit(database: Database, pages: int) -> None:
    database.write_now(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}"))


async def test_a_full_disk_is_noticed_by_the_write_that_fails_and_space_by_the_one_that_does_not(database):
    space = Space(database)
    space.check()
    with pytest.raises(OSError, match="left"), space.watched():
        raise OSError(28, "no space left on device")
    with pytest.raises(Fault, match="disk is full") as caught:
        space.check()
    assert (caught.value.reason, caught.value.retry_after) == ("DISK_FULL", 30)
    limit(database, 1)
    await space.probe()
    assert space.full
    limit(database, 100_000)
    await space.probe()
    space.check()


async def test_other_errors_say_nothing_of_the_disk(database):
    space = Space(database)
    with pytest.raises(Fault), space.watched():
        raise invalid("WRONG", "something else")
    space.check()
