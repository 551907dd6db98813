"""What comes in is compared while others come in, and with little while they wait, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from prometheus_client import CollectorRegistry, Gauge

from services.datanet import store_alike, store_likeness
from services.datanet.comparing import Comparing
from services.datanet.liken import Likening
from services.datanet.likeness import Sketch
from services.datanet.model import Duplicates, Policy
from services.datanet.store_alike import KEPT, Looked, Meeting, MuchCame
from services.kit.errors import Fault
from tests.alike import ADA, BOB, CLEO, NEAR, TEXT, Store, edited, opened, sentences, shuffled

REFUSE = Policy(duplicates=Duplicates.REFUSE)


@pytest.fixture
def here(database_url: str, tmp_path) -> Iterator[Store]:
    with opened(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def comparing(here) -> Comparing:
    missing = Gauge("missing", "Left", registry=CollectorRegistry())
    return Comparing(here.database, here.vault, Likening(here.database, here.vault, missing))


def texts(here: Store, *said: str) -> list:
    return [one.text for one in here.upload(BOB, *said)[1].candidates]


def shuffles(count: int) -> list[str]:
    rng = random.Random(count)
    return [shuffled(TEXT, rng) for _ in range(count)]


def in_turn(comparing: Comparing, mine: list, act, policy: Policy = REFUSE, held=None):
    async def answer(looked):
        return act(looked)

    return asyncio.run(comparing.in_turn(BOB, policy, mine, ([] if held is None else held).append, answer))


def earlier(here: Store, mine: list, looked: Looked) -> list[str]:
    """In the transaction that takes them: whose records they are like."""

    def ask(connection):
        store_likeness.hold(connection)
        return store_alike.earlier(connection, here.vault, BOB, "strict", mine, looked)

    found = here.database.write_now(ask)
    return [found[one.record].name if one.record in found else "" for one in mine]


def coming(here: Store, monkeypatch, *uploads: list[str]) -> list[int]:
    """Ada's uploads, each of which comes in while the next is compared; how many of them came."""
    left, came, like, compare = list(uploads), [], store_alike.like, Meeting.compare

    def another() -> None:
        if left:
            came.append(len(here.give(ADA, *left.pop(0), datanet="open").first))

    def meanwhile(*arguments):
        found = like(*arguments)
        another()
        return found

    def again(*arguments):
        found = compare(*arguments)
        another()
        return found

    monkeypatch.setattr(store_alike, "like", meanwhile)
    monkeypatch.setattr(Meeting, "compare", again)
    return came


def test_what_comes_while_it_is_compared_is_compared_before_others_wait(here, comparing, monkeypatch):
    mine, held = texts(here, NEAR, sentences(1, 1)[0]), []
    came = coming(here, monkeypatch, [TEXT], [sentences(1, 2)[0]])

    def act(looked):
        assert looked.last == here.database.read_now(store_likeness.last) == 2
        with monkeypatch.context() as patch:
            patch.setattr(store_alike, "rows_of", None)  # there is nothing left to compare
            return earlier(here, mine, looked)

    first, nothing = in_turn(comparing, mine, act, held=held)
    assert came == [1, 1]
    assert (here.of(first).contributor, nothing) == (ADA, "")
    assert sum(held) == 8


def test_what_comes_when_it_has_a_turn_is_compared_in_that(here, comparing):
    mine = texts(here, NEAR)

    def act(looked):
        first = here.give(ADA, TEXT, datanet="open").first[0]
        return earlier(here, mine, looked) == [first]

    assert in_turn(comparing, mine, act)


def test_where_more_came_than_others_can_wait_for_the_turn_is_given_back_and_it_is_compared_first(
    here, comparing, monkeypatch
):
    monkeypatch.setattr(store_alike, "MOST_NUMBERS", 9_000)
    mine, turns = texts(here, *shuffles(20)), []

    def act(looked):
        turns.append(1)
        if len(turns) == 1:
            here.give(ADA, *shuffles(10), datanet="open")
        return earlier(here, mine, looked)

    found = in_turn(comparing, mine, act)
    assert len(turns) == 2
    assert {here.of(name).contributor for name in found} == {ADA}


@pytest.mark.parametrize("most", ("MOST_NUMBERS", "MOST_RECORDS"))
def test_who_never_comes_to_an_end_is_told_so_and_nothing_is_taken(here, comparing, monkeypatch, most):
    monkeypatch.setattr(store_alike, most, 9)
    mine, rng = texts(here, *shuffles(20)), random.Random(1)

    def act(looked):
        here.give(ADA, *(edited(TEXT, 1, rng) for _ in range(10)), datanet="open")
        return earlier(here, mine, looked)

    with pytest.raises(Fault, match="Nothing was taken") as told:
        in_turn(comparing, mine, act)
    assert (told.value.code, told.value.reason) == (grpc.StatusCode.ABORTED, "MUCH_CAME_MEANWHILE")


def test_each_text_is_read_once_for_all_that_came(here, monkeypatch):
    mine = texts(here, *shuffles(20))
    here.give(ADA, *dict.fromkeys(shuffles(15)), datanet="open")
    rows = here.database.read_now(lambda c: store_alike.rows_of(c, store_alike.since(c, 0)))
    read, from_bytes = [], Sketch.from_bytes
    monkeypatch.setattr(Sketch, "from_bytes", lambda data: read.append(data) or from_bytes(data))
    found = Meeting(mine).compare(here.vault, rows)
    assert all(len(found[one.record]) == len(rows) for one in mine)
    assert len(read) == len(mine) + len(rows)


def test_of_each_feature_the_first_that_came_are_compared(here):
    mine = texts(here, TEXT)
    here.give(ADA, *dict.fromkeys(shuffles(40)), datanet="open")
    rows = here.database.read_now(lambda c: store_alike.rows_of(c, store_alike.since(c, 0)))
    (found,) = Meeting(mine).compare(here.vault, rows).values()
    assert list(found) == list(range(1, KEPT + 1))
    most = KEPT * 2 * (Sketch.from_bytes(mine[0].sketch).size + 1)
    assert Meeting(mine, most).compare(here.vault, rows)
    with pytest.raises(MuchCame):
        Meeting(mine, most - 2 * KEPT).compare(here.vault, rows)


def test_as_many_are_found_of_what_came_as_of_all_that_is_there(here):
    rng = random.Random(5)
    said = sentences(60, 5)
    mine = texts(here, *(edited(text, 3, rng) for text in said), "fever", "")
    before = Looked(0, {})
    here.give(CLEO, *said, datanet="open")
    all_at_once = here.database.read_now(lambda c: store_alike.look(c, here.vault, mine))
    assert len(all_at_once.like) == 60
    assert earlier(here, mine, before) == earlier(here, mine, all_at_once)
    assert Meeting([]).compare(here.vault, here.database.read_now(lambda c: store_alike.rows_of(c, [1]))) == {}


@pytest.mark.parametrize("rule", (Duplicates.IGNORE, Duplicates.CREDIT))
def test_where_the_owner_does_not_ask_for_it_nothing_is_compared(here, comparing, monkeypatch, rule):
    here.give(ADA, TEXT)
    for name in ("like", "since"):
        monkeypatch.setattr(store_alike, name, None)
    assert in_turn(comparing, texts(here, NEAR), lambda looked: looked, replace(REFUSE, duplicates=rule)) is None


async def test_who_hangs_up_keeps_its_turn_until_what_was_begun_is_done(here, comparing):
    """Else the next one would wait for it in a thread of the database's, and the next, until none is left."""
    begun, go, order = asyncio.Event(), asyncio.Event(), []

    async def slow(_):
        begun.set()
        await go.wait()
        order.append("first")

    async def next_one(_):
        order.append("next")

    first = asyncio.create_task(comparing.in_turn(BOB, REFUSE, [], print, slow))
    await begun.wait()
    second = asyncio.create_task(comparing.in_turn(BOB, REFUSE, [], print, next_one))
    first.cancel()
    await asyncio.sleep(0.05)
    assert order == []
    go.set()
    await second
    assert order == ["first", "next"]
    assert first.cancelled()


async def test_of_each_account_one_thing_is_compared_at_a_time_and_others_in_between(here, comparing, monkeypatch):
    order, like = [], store_alike.like

    def told(connection, vault, some):
        order.append(some[0].record)
        return like(connection, vault, some)

    monkeypatch.setattr(store_alike, "like", told)
    whose = {}

    def compared(who: str, *said: str):
        mine = texts(here, *said)
        whose.update((one.record, (who, said[0])) for one in mine)

        async def nothing(_):
            return None

        return asyncio.create_task(comparing.in_turn(who, REFUSE, mine, [].append, nothing))

    many = [sentences(60, seed) for seed in range(4)]
    mine = [compared(BOB, *said) for said in many]
    others = compared(CLEO, *sentences(60, 9))
    await asyncio.gather(*mine, others)
    pieces = [whose[record] for record in order]
    bobs = [first for who, first in pieces if who == BOB]
    assert bobs == [said[0] for said in many for _ in range(6)], "one after the other"
    assert [who for who, _ in pieces[:12]].count(CLEO) >= 4, "as fast as one of them"
