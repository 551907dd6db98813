"""Whose turn it is: one process's at a time, and nobody's work goes on without it."""

from __future__ import annotations

import asyncio

import pytest

from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger.pen import Pen, holder
from services.ledger.store.sender import LostPen
from services.ledger.store.tables import METADATA

A = "0x" + "a" * 40


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.write_now(METADATA.create_all)
    yield database
    database.close()


def pen_on(database, name: str, seconds: float = 60) -> Pen:
    return Pen(database, A, name, Metrics("ledger"), seconds=seconds)


def test_one_has_it_until_it_gives_it_back(database):
    one, two = pen_on(database, "one"), pen_on(database, "two")
    assert (one.take(), two.take()) == (True, False)
    with pytest.raises(LostPen):
        database.read_now(two.check)
    one.drop()
    assert two.take()
    with pytest.raises(LostPen):
        database.read_now(one.check)
    database.read_now(two.check)


def test_a_new_life_of_the_same_process_need_not_wait(database):
    old, new = pen_on(database, "one"), pen_on(database, "one")
    assert old.take()
    assert new.take()
    with pytest.raises(LostPen):
        database.read_now(old.check)


async def test_who_falls_silent_loses_it_and_finds_out(database):
    one, two = pen_on(database, "one", 0.1), pen_on(database, "two", 60)
    one.take()
    await two.step()
    assert not two.held
    await asyncio.sleep(0.15)
    await two.step()
    assert two.held
    await one.step()
    assert not one.held


async def test_who_renews_in_time_keeps_it(database):
    one, two = pen_on(database, "one", 0.4), pen_on(database, "two")
    keeping = asyncio.create_task(one.run())
    for _ in range(8):
        await asyncio.sleep(0.1)
        assert not two.take()
    keeping.cancel()


async def test_work_goes_on_while_it_is_this_process_turn_and_stops_with_it(database):
    one, two, running = pen_on(database, "one"), pen_on(database, "two"), []

    async def work() -> None:
        running.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            running.append("ended")

    doing = asyncio.create_task(one.only(work)())
    await asyncio.sleep(0.05)
    assert running == []
    one.take()
    await asyncio.sleep(0.05)
    assert running == ["begun"]
    one.drop()
    two.take()
    await asyncio.sleep(0.05)
    assert running == ["begun", "ended"]
    two.drop()
    one.take()
    await asyncio.sleep(0.05)
    assert running[-1] == "begun"
    doing.cancel()


async def test_work_that_finds_out_first_is_not_a_failure_and_other_failures_are(database):
    one, raised = pen_on(database, "one"), [LostPen("another's"), KeyError("a fault")]

    async def work() -> None:
        raise raised.pop(0)

    one.take()
    with pytest.raises(KeyError):
        await asyncio.wait_for(one.only(work)(), 5)


def test_a_folder_is_one_process_whoever_starts_it(tmp_path):
    assert holder(tmp_path / "a") == holder(tmp_path / "a") != holder(tmp_path / "b")
