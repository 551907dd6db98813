"""Places, turns, and nothing at all while the disk is full."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.kit.database import Database
from services.kit.errors import Fault, invalid
from services.openlora.__main__ import MIGRATIONS
from services.openlora.admission import Admission, Space


async def test_no_more_than_its_places_are_given_and_given_again_when_free():
    admission = Admission(1, 1)
    with admission.place():
        with admission.place(), pytest.raises(Fault) as caught, admission.place():
            pass
        assert (caught.value.reason, caught.value.retry_after) == ("QUEUE_FULL", 2)
        with admission.place():
            assert admission.queued == 2


async def test_turns_come_one_after_the_other_and_return_when_their_holder_fails():
    admission, order = Admission(2, 10), list[int]()

    async def go(number: int) -> None:
        with admission.place():
            async with admission.turn():
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
        with admission.place():
            async with admission.turn():
                raise AssertionError("there is no turn to have")

    with admission.place():
        async with admission.turn():
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            assert admission.queued == 1
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    assert (admission.running, admission.queued) == (0, 0)


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
