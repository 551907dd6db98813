"""Records that are looked at in workers, and those that bring a worker down."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from services.datanet.draft import Draft
from services.datanet.model import Policy
from services.datanet.screeners import NOT_CHECKED, Screeners
from services.kit import contained
from services.kit.contained import Workers
from services.kit.errors import Fault

FAULTY = "tests.faulty_checks"
LOOKS = Policy(quality=True)
ADA, BOB, CLEO = ("0x" + letter * 40 for letter in "abc")


@asynccontextmanager
async def screeners(module=FAULTY, seconds=20.0):
    workers = Workers(module, memory=2**30, at_once=1)
    try:
        yield Screeners(workers, seconds, f"{module}:work")
    finally:
        await workers.close()


def drafts(*texts: str) -> list[Draft]:
    return [Draft(index, {"text": text}) for index, text in enumerate(texts)]


async def test_each_record_has_its_own_findings_in_order():
    async with screeners() as looking:
        found = await looking.look(drafts("one", "two"), LOOKS, ADA)
        assert [[finding.value for finding in of_one] for of_one in found] == [["one"], ["two"]]
        assert await looking.look([], LOOKS, ADA) == []


@pytest.mark.parametrize("how", ("dies", "hangs", "raises", "lies", "omits"))
async def test_a_record_that_brings_a_worker_down_is_refused_alone(how, monkeypatch):
    monkeypatch.setattr(contained, "BUSY", 0.01)  # this machine may be
    async with screeners(seconds=2.0 if how == "hangs" else 20.0) as looking:
        one, bad, two = await looking.look(drafts("one", how, "two"), LOOKS, ADA)
    assert bad == (NOT_CHECKED,)
    assert [one[0].value, two[0].value] == ["one", "two"]


async def test_a_machine_that_has_no_time_refuses_no_record_and_takes_none():
    async with screeners(seconds=1.0) as looking:
        with pytest.raises(Fault, match=r"this machine left 0\.0 s to it") as caught:
            await looking.look(drafts("one", "waits"), LOOKS, ADA)
    assert (caught.value.reason, caught.value.retry_after) == ("CHECKS_UNAVAILABLE", 10)


async def test_a_datanet_that_asks_for_nothing_pays_nothing():
    async with screeners("no.such.module") as looking:
        assert await looking.look(drafts("one", "two"), Policy(min_chars=1), ADA) == [(), ()]


async def test_where_nothing_can_look_that_is_said_and_nothing_is_let_through():
    async with screeners("no.such.module") as looking:
        with pytest.raises(Fault) as caught:
            await looking.look(drafts("one"), LOOKS, ADA)
    assert caught.value.reason == "CHECKS_UNAVAILABLE"


async def test_who_gives_many_that_take_long_keeps_others_waiting_for_one_and_not_for_all():
    done: list[str] = []

    async def look(looking: Screeners, account: str) -> None:
        await looking.look(drafts("naps"), LOOKS, account)
        done.append(account)

    async with screeners() as looking:
        await looking.look(drafts("one"), LOOKS, CLEO)
        jobs = [asyncio.create_task(look(looking, ADA)) for _ in range(10)]
        await asyncio.sleep(0.05)
        await look(looking, BOB)
        assert done.index(BOB) <= 2
        await asyncio.gather(*jobs)
    assert done.count(ADA) == 10
