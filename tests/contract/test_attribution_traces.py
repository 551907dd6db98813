"""What Attribution keeps of questions and answers, the same on SQLite and PostgreSQL: sealed, forgotten, let go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select

import services.attribution.__main__ as attribution
from openledger.artifacts import ArtifactStore
from openledger.money import Price
from openledger.trace_proto import time_text
from services.attribution import store_traces
from services.attribution.store_traces import SEALED, SealedTrace
from services.attribution.traces import TraceGone, Traces
from services.kit.database import Database
from services.kit.payer_keys import PayerKeys
from services.kit.sealing import Unopened
from tests.unit.services.openlora.test_sealing import TRACE

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OTHER = "accounts/0x" + "b" * 40


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, erases=True)
    found.migrate(Path(attribution.__file__).parent / "migrations")
    yield found
    found.close()


@pytest.fixture
def artifacts(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def traces(database, artifacts) -> Traces:
    return a_life(database, artifacts)


def a_life(database, artifacts, days: float = 90.0, now: datetime = NOW) -> Traces:
    keys = PayerKeys(database, store_traces.METADATA, bytes(32), clock=now.timestamp)
    return Traces(database, artifacts, keys, days=days, clock=now.timestamp)


def a_trace(number: int, payer: str = TRACE.payer, end: datetime = NOW - timedelta(hours=1), **more):
    price = Price(1000, 1000, 7)
    salted = {"price": price, "fee": price.fee(3, 2), "platform_fee": 7, "salt": f"{number:064x}"}
    return replace(TRACE, response=f"responses/{number}", payer=payer, end_time=time_text(end), **salted | more)


async def keep(database, traces, *which) -> None:
    sealed = [await traces.seal(each) for each in which]
    database.write_now(lambda c: store_traces.keep(c, [each for each in sealed if each is not None]))


def receipt_of(trace):
    return SimpleNamespace(response=trace.response, trace_sha256=trace.digest())


async def gone(traces, trace) -> str:
    with pytest.raises(TraceGone) as caught:
        await traces.of(receipt_of(trace))
    return str(caught.value)


async def test_what_is_kept_is_had_again_in_every_life_and_says_nothing_on_disk(database, artifacts, traces):
    mine, theirs = a_trace(1), a_trace(2, OTHER)
    await keep(database, traces, mine, theirs)
    for life in (traces, a_life(database, artifacts)):
        for trace in (mine, theirs):
            assert await life.of(receipt_of(trace)) == trace
            assert await life.document(trace.response, trace.digest()) == trace.dumps()
    for row in database.read_now(lambda c: c.execute(SEALED.select()).all()):
        for told in ("70001", "80001", "a stop text", mine.salt, theirs.salt):
            assert told not in str(row)
    assert not (artifacts.root / "sha256").exists()


async def test_what_is_published_is_not_kept_twice_and_is_read_where_it_is(database, artifacts, traces):
    trace = a_trace(1, published=True)
    assert await traces.seal(trace) is None
    artifacts.put(trace.dumps())
    assert await traces.of(receipt_of(trace)) == trace
    await traces.forget(trace.payer, NOW)
    assert await traces.of(receipt_of(trace)) == trace, "what is published stays published"


async def test_what_was_published_before_there_were_seals_is_read_as_it_is(artifacts, traces):
    artifacts.put(TRACE.dumps())
    assert await traces.of(receipt_of(TRACE)) == TRACE


async def test_a_trace_is_kept_once(database, traces):
    first = a_trace(1)
    await keep(database, traces, first, first)
    await keep(database, traces, a_trace(1, finish_reason="length"))
    assert await traces.of(receipt_of(first)) == first


async def test_forgetting_takes_what_is_there_and_what_comes_late_and_nothing_else(database, artifacts, traces):
    mine, theirs = a_trace(1), a_trace(2, OTHER)
    await keep(database, traces, mine, theirs)
    in_hand = await traces.seal(a_trace(3))
    await traces.forget(TRACE.payer, NOW)
    late, after = a_trace(4, end=NOW), a_trace(5, end=NOW + timedelta(microseconds=1))
    database.write_now(lambda c: store_traces.keep(c, [in_hand]))
    await keep(database, traces, late, after)
    for life in (traces, a_life(database, artifacts)):
        for trace in (mine, a_trace(3), late):
            words = await gone(life, trace)
            assert trace.response in words
            assert "cannot be computed again" in words
        assert await life.of(receipt_of(theirs)) == theirs
        assert await life.of(receipt_of(after)) == after


async def test_a_box_that_was_sealed_before_and_kept_after_opens_for_nobody(database, traces):
    """Whose answer ended after the moment that its payer named, and was in hand just then."""
    young = a_trace(1, end=NOW + timedelta(minutes=1))
    in_hand = await traces.seal(young)
    await traces.forget(TRACE.payer, NOW)
    database.write_now(lambda c: store_traces.keep(c, [in_hand]))
    await gone(traces, young)


def with_a_list(database, artifacts, folder: Path) -> Traces:
    keys = PayerKeys(database, store_traces.METADATA, bytes(32), clock=NOW.timestamp, forgotten=folder / "forgotten")
    return Traces(database, artifacts, keys, days=90, clock=NOW.timestamp)


def tables(database) -> dict:
    names = ("payer_key", store_traces.SEALED.name, "forgotten")
    found = [store_traces.METADATA.tables[name] for name in names]
    return {table: database.read_now(lambda c, t=table: c.execute(select(t)).all()) for table in found}


def put_back(database, copy: dict) -> None:
    def act(connection) -> None:
        for table, rows in copy.items():
            connection.execute(table.delete())
            if rows:
                connection.execute(table.insert(), [row._asdict() for row in rows])

    database.write_now(act)


@pytest.mark.parametrize("asked", (1, 2), ids=("before anything was read", "again"))
async def test_what_was_not_read_yet_when_it_was_forgotten_is_not_kept_where_a_copy_is_put_back(
    database, artifacts, tmp_path, asked
):
    """There is no key to destroy then, only the moment."""
    traces = with_a_list(database, artifacts, tmp_path)
    if asked == 2:
        await keep(database, traces, a_trace(1))
        await traces.forget(TRACE.payer, NOW - timedelta(minutes=50))
    copy = tables(database)
    await traces.forget(TRACE.payer, NOW)
    put_back(database, copy)
    traces = with_a_list(database, artifacts, tmp_path)
    await traces.forget_again()
    late, new = a_trace(2, end=NOW - timedelta(minutes=20)), a_trace(3, end=NOW + timedelta(minutes=1))
    await keep(database, traces, late, new)
    await gone(traces, late)
    assert await traces.of(receipt_of(new)) == new


async def test_who_forgets_without_a_pause_fills_no_disk(database, artifacts, tmp_path):
    traces, listed = with_a_list(database, artifacts, tmp_path), tmp_path / "forgotten"
    for second in range(40):
        await traces.forget(TRACE.payer, NOW + timedelta(seconds=second))
        await traces.forget(TRACE.payer, NOW - timedelta(days=second))
    first, second = (time_text(NOW + timedelta(minutes=n)) for n in (0, 1))
    assert listed.read_text().splitlines() == [f"{TRACE.payer} {first}", f"{TRACE.payer} {second}"]


async def test_what_was_forgotten_stays_so_where_a_copy_is_put_back_and_what_came_since_stays(
    database, artifacts, tmp_path
):
    old, late, new = (a_trace(n, end=NOW + timedelta(minutes=m)) for n, m in ((1, -60), (2, -30), (3, 30)))
    traces = with_a_list(database, artifacts, tmp_path)
    await keep(database, traces, old)
    copy = tables(database)
    await traces.forget(TRACE.payer, NOW)
    put_back(database, copy)
    for _ in range(2):
        traces = with_a_list(database, artifacts, tmp_path)
        await traces.forget_again()
        await keep(database, traces, late, new)
        for gone in (old, late):
            with pytest.raises(TraceGone):
                await traces.of(receipt_of(gone))
        assert await traces.of(receipt_of(new)) == new


async def test_forgetting_again_never_takes_less(database, traces):
    for before in (NOW, NOW - timedelta(days=1)):
        await traces.forget(TRACE.payer, before)
    await keep(database, traces, a_trace(1, end=NOW - timedelta(hours=1)))
    await gone(traces, a_trace(1))


async def test_old_traces_go_and_the_keys_that_open_nothing_more(database, artifacts, traces, monkeypatch):
    monkeypatch.setattr("services.attribution.traces.PIECE", 2)
    old = [a_trace(number, end=NOW - timedelta(days=91, seconds=number)) for number in range(5)]
    young = a_trace(9, OTHER, end=NOW - timedelta(days=89))
    await keep(database, traces, *old, young)
    assert await traces.let_go() == 5
    assert await traces.let_go() == 0
    for trace in old:
        assert "90 days" in await gone(traces, trace)
    assert await traces.of(receipt_of(young)) == young
    assert keys(database) == {TRACE.payer, OTHER}, "of today, and may be in use"
    later = a_life(database, artifacts, now=NOW + timedelta(days=200))
    assert await later.let_go() == 1
    assert keys(database) == set()


def keys(database) -> set[str]:
    rows = database.read_now(lambda c: c.execute(store_traces.PAYER_KEY.select()).all())
    return {row.payer for row in rows}


@pytest.mark.parametrize("column", ("box", "payer", "end_time", "data_key"))
async def test_what_was_changed_on_disk_is_found(database, traces, column):
    trace = a_trace(1)
    await keep(database, traces, trace)
    other = await traces.seal(a_trace(2))
    assert isinstance(other, SealedTrace)
    changed = OTHER if column == "payer" else "2026-01-01T00:00:00.000000Z" if column == "end_time" else other.box
    if column == "data_key":
        theirs = await traces.seal(a_trace(3, OTHER))
        changed = theirs.data_key
    database.write_now(lambda c: c.execute(SEALED.update().values({column: changed})))
    with pytest.raises(Unopened):
        await traces.of(receipt_of(trace))


async def test_a_box_of_another_trace_of_that_response_is_not_taken_for_it(database, traces):
    kept, named = a_trace(1), a_trace(1, finish_reason="length")
    await keep(database, traces, kept)
    with pytest.raises(ValueError, match="not the one that its receipt names"):
        await traces.document(named.response, named.digest())
