"""Traces on disk, the same on SQLite and PostgreSQL: sealed, given again, let go, and never answered twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.errors import Fault
from services.kit.payer_keys import PayerKeys
from services.openlora import sealing, store, store_traces
from services.openlora.__main__ import MIGRATIONS
from services.openlora.charges import Charges
from services.openlora.retention import Retention
from services.openlora.store import Asked
from services.openlora.store_traces import Replayed
from services.openlora.tracelog import AnothersLog, TraceLog
from tests.unit.services.openlora.test_sealing import TRACE

DAY = 86_400
NOW = 1_800_000_000
SECRET = bytes(32)
OTHER = "accounts/0x" + "b" * 40


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url)
    found.migrate(MIGRATIONS)
    yield found
    found.close()


def a_trace(number: int, payer: str = TRACE.payer, **more):
    return replace(TRACE, response=f"responses/{number:032}", payer=payer, **more)


async def opened(database: Database, most_behind: int = 100, replica: str = "") -> tuple[DurableLog, TraceLog]:
    log = DurableLog(database, store.METADATA, "traces")
    log.open()
    traces = TraceLog(
        database, log, PayerKeys(database, store.METADATA, SECRET), most_behind=most_behind, replica=replica
    )
    await traces.open()
    return log, traces


def retention(database, log, traces, days=90.0) -> Retention:
    return Retention(database, log, traces, days=days, clock=lambda: NOW)


async def fault(awaitable) -> Fault:
    with pytest.raises(Fault) as caught:
        await awaitable
    return caught.value


async def test_traces_are_given_as_they_came_in_every_life(database):
    _, traces = await opened(database)
    came = [a_trace(1), a_trace(2, OTHER), a_trace(3)]
    assert [await traces.append(trace) for trace in came] == [1, 2, 3]
    assert await traces.append(came[1]) == 2
    for log in (traces, (await opened(database))[1]):
        assert (await log.read(0)).entries == [(1, came[0]), (2, came[1]), (3, came[2])]
        assert await log.get(f"{2:032}") == came[1]
        assert await log.get(f"{9:032}") is None
        assert log.end == 3


async def test_what_lies_on_disk_says_nothing_of_the_text(database):
    log, traces = await opened(database)
    await traces.append(a_trace(1))
    [entry] = (await log.read(0)).entries
    assert entry.payload != a_trace(1).dumps()
    assert b"70001" not in entry.payload
    assert sealing.head_of(entry.payload).fee == TRACE.fee


async def test_entries_of_before_there_were_seals_are_read_and_let_go_like_the_others(database):
    log, traces = await opened(database)
    await log.append(f"{1:032}", a_trace(1).dumps())
    await traces.append(a_trace(2))
    assert (await traces.read(0)).entries == [(1, a_trace(1)), (2, a_trace(2))]
    assert await traces.get(f"{1:032}") == a_trace(1)
    await traces.acknowledge(2)
    assert await retention(database, log, traces).step() == 2
    assert (await fault(traces.get(f"{1:032}"))).reason == "ANSWER_EXPIRED"


async def test_a_trace_is_its_payers_alone(database):
    _, traces = await opened(database)
    await traces.append(a_trace(1))
    assert await traces.given(f"{1:032}", TRACE.payer) == a_trace(1)
    for key, payer in ((1, OTHER), (2, TRACE.payer)):
        assert (await fault(traces.given(f"{key:032}", payer))).reason == "ANSWER_NOT_FOUND"


async def test_another_replicas_answer_is_not_looked_for_here(database):
    _, traces = await opened(database, replica="b")
    await traces.append(replace(TRACE, response=f"responses/b.{1:032}"))
    assert (await traces.given(f"b.{1:032}", TRACE.payer)).response == f"responses/b.{1:032}"
    for key, maker in ((f"{1:032}", ""), (f"a.{1:032}", "a")):
        refusal = await fault(traces.given(key, TRACE.payer))
        assert (refusal.reason, refusal.metadata["replica"], refusal.metadata["here"]) == (
            "ANSWER_ELSEWHERE",
            maker,
            "b",
        )
    assert (await fault(traces.given(f"b.{2:032}", TRACE.payer))).reason == "ANSWER_NOT_FOUND"


@pytest.mark.parametrize(("had", "has"), (("", "b"), ("b", ""), ("b", "c")))
async def test_a_log_keeps_its_replicas_name_also_when_its_traces_are_gone(database, had, has):
    log, traces = await opened(database, replica=had)
    await opened(database, replica=has)
    key = f"{had}.{1:032}" if had else f"{1:032}"
    await traces.append(replace(TRACE, response=f"responses/{key}"))
    for _ in range(2):
        with pytest.raises(AnothersLog, match="OPENLEDGER_OPENLORA_REPLICA"):
            await opened(database, replica=has)
        await opened(database, replica=had)
        await traces.acknowledge(1)
        await retention(database, log, traces).step()
    assert (await fault(traces.get(key))).reason == "ANSWER_EXPIRED"


async def test_where_the_log_stands_is_told_without_any_trace_whatever_went(database):
    log, traces = await opened(database)
    await traces.append(a_trace(1))
    await traces.acknowledge(1)
    assert await retention(database, log, traces).step() == 1
    page = await traces.stands()
    assert (page.entries, page.high_watermark, page.epoch) == ([], 1, traces.epoch)


async def test_old_traces_go_and_their_accounts_stay(database):
    log, traces = await opened(database)
    for number, time in enumerate(("2026-01-02", "2026-10-01", "2026-12-31"), start=1):
        await traces.append(a_trace(number, end_time=f"{time}T00:00:00.000000Z"))
    await traces.acknowledge(3)
    assert await retention(database, log, traces).step() == 2, "90 days before 15 January 2027 is in October"
    assert [offset for offset, _ in (await traces.read(2)).entries] == [3]
    assert (await fault(traces.read(0))).reason == "OFFSET_COMPACTED"
    gone = await fault(traces.get(f"{1:032}"))
    assert gone.reason == "ANSWER_EXPIRED"
    assert gone.metadata["fee"] == str(TRACE.fee)
    assert gone.metadata["trace_sha256"] == a_trace(1, end_time="2026-01-02T00:00:00.000000Z").digest()
    assert TRACE.payer not in str(gone.metadata)
    assert (await fault(traces.given(f"{1:032}", TRACE.payer))).reason == "ANSWER_EXPIRED"
    assert (await fault(traces.given(f"{1:032}", OTHER))).reason == "ANSWER_NOT_FOUND"


async def test_nothing_goes_that_is_not_acknowledged(database):
    log, traces = await opened(database)
    for number in (1, 2, 3):
        await traces.append(a_trace(number))
    assert await retention(database, log, traces).step() == 0
    await traces.acknowledge(2)
    assert await retention(database, log, traces).step() == 2
    assert (await traces.read(2)).entries == [(3, a_trace(3))]


@pytest.mark.parametrize("state", ("asked for", "held", "given back"))
async def test_nothing_goes_that_a_lease_may_have_been_charged_by(database, state):
    log, traces = await opened(database)
    await traces.append(a_trace(1, lease="leases/0"))
    database.write_now(lambda c: store.ask(c, Asked("r1", TRACE.payer, 2**80, 1)))
    if state != "asked for":
        database.write_now(lambda c: store.hold(c, "r1", "leases/1", 2**80, NOW + 1))
    for number in (2, 3):
        await traces.append(a_trace(number))
    await traces.acknowledge(3)
    if state == "given back":
        database.write_now(lambda c: store.close(c, "leases/1", 1))
    assert await retention(database, log, traces).step() == (3 if state == "given back" else 1)
    if state == "held":
        charges = Charges(log)
        charges.resume({"leases/1": 1})
        assert await charges.used("leases/1") == 2 * TRACE.fee


async def test_more_than_a_piece_goes_piece_by_piece(database, monkeypatch):
    monkeypatch.setattr("services.openlora.retention.PIECE", 2)
    log, traces = await opened(database)
    for number in range(1, 6):
        await traces.append(a_trace(number))
    await traces.acknowledge(5)
    assert await retention(database, log, traces).step() == 5
    assert await log.first() == 6
    assert await retention(database, log, traces).step() == 0


async def test_what_was_acknowledged_is_known_in_every_life_and_never_taken_back(database):
    _, traces = await opened(database)
    for number in (1, 2, 3):
        await traces.append(a_trace(number))
    assert traces.lag == 3
    for offset in (2, 1, 0):
        await traces.acknowledge(offset)
        assert (traces.acknowledged, traces.lag) == (2, 1)
    await traces.acknowledge(4)
    assert traces.acknowledged == 2, "the log does not reach so far"
    again = (await opened(database))[1]
    assert (again.acknowledged, again.lag) == (2, 1)


async def test_where_too_many_wait_nothing_new_is_begun(database):
    _, traces = await opened(database, most_behind=2)
    await traces.append(a_trace(1))
    traces.check()
    await traces.append(a_trace(2))
    with pytest.raises(Fault) as caught:
        traces.check()
    assert (caught.value.reason, caught.value.retry_after) == ("TRACES_BEHIND", 30)
    assert await traces.get(f"{2:032}") == a_trace(2), "what was answered is given again all the same"
    await traces.acknowledge(1)
    traces.check()


async def test_what_is_forgotten_is_told_to_nobody_and_never_answered_anew(database):
    _, traces = await opened(database)
    for trace in (a_trace(1), a_trace(2, OTHER)):
        await traces.append(trace)
    await traces.forget(TRACE.payer)
    for log in (traces, (await opened(database))[1]):
        for asked in (log.get(f"{1:032}"), log.given(f"{1:032}", TRACE.payer), log.given(f"{1:032}", None)):
            gone = await fault(asked)
            assert gone.reason == "ANSWER_FORGOTTEN"
            assert (gone.metadata["fee"], gone.metadata["trace_sha256"]) == (str(TRACE.fee), a_trace(1).digest())
        assert (await fault(log.given(f"{1:032}", OTHER))).reason == "ANSWER_NOT_FOUND"
        assert await log.get(f"{2:032}") == a_trace(2, OTHER)


async def test_attribution_has_what_is_forgotten_before_its_key_is_destroyed(database):
    log, traces = await opened(database)
    for number in (1, 2):
        await traces.append(a_trace(number))
    await traces.forget(TRACE.payer)
    await traces.destroy()
    await traces.append(a_trace(3))
    names = [sealing.data_key_of(entry.payload) for entry in (await log.read(0)).entries]
    assert names[0] == names[1] != names[2]
    for acknowledged in (0, 1):
        await traces.acknowledge(acknowledged)
        await traces.destroy()
        assert (await traces.read(0)).entries == [(number, a_trace(number)) for number in (1, 2, 3)]
    await traces.acknowledge(2)
    again = (await opened(database))[1]
    await again.destroy()
    assert kept_keys(database) == set(names), "the log goes on to 3, and another life knows no better"
    await traces.destroy()
    assert kept_keys(database) == {names[2]}
    lost = await fault(traces.read(0))
    assert (lost.reason, lost.metadata["offset"]) == ("TRACE_FORGOTTEN", "1")
    assert (await traces.read(2)).entries == [(3, a_trace(3))]
    assert (await fault(traces.get(f"{1:032}"))).reason == "ANSWER_FORGOTTEN"
    assert await traces.get(f"{3:032}") == a_trace(3)


async def test_a_key_is_not_destroyed_while_something_is_being_written_under_it(database, monkeypatch):
    log, traces = await opened(database)
    await traces.append(a_trace(1))
    written, append = asyncio.Event(), log.append

    async def slow(key, payload):
        await written.wait()
        return await append(key, payload)

    monkeypatch.setattr(log, "append", slow)
    writing = asyncio.create_task(traces.append(a_trace(2)))
    await asyncio.sleep(0)
    await traces.forget(TRACE.payer)
    await traces.acknowledge(1)
    await traces.destroy()
    written.set()
    assert await writing == 2
    assert [trace for _, trace in (await traces.read(0)).entries] == [a_trace(1), a_trace(2)]
    await traces.acknowledge(2)
    await traces.destroy()
    assert kept_keys(database) == set()


async def test_who_hangs_up_while_it_forgets_is_forgotten_and_loses_nobody_any_money(database, monkeypatch):
    """Its key stays until Attribution has what it sealed, goes then, and seals nothing that comes meanwhile."""
    _, traces = await opened(database)
    await traces.append(a_trace(1))
    [old] = kept_keys(database)
    begun, go, write = threading.Event(), threading.Event(), database.write_now

    def slow(transaction):
        begun.set()
        go.wait(20)
        return write(transaction)

    await traces.destroy()
    monkeypatch.setattr(database, "write_now", slow)
    forgetting = asyncio.create_task(traces.forget(TRACE.payer))
    await asyncio.to_thread(begun.wait, 20)
    forgetting.cancel()
    writing = asyncio.create_task(traces.append(a_trace(2)))
    await asyncio.sleep(0.02)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await forgetting
    assert await writing == 2
    assert (await fault(traces.get(f"{1:032}"))).reason == "ANSWER_FORGOTTEN"
    assert await traces.get(f"{2:032}") == a_trace(2)
    await traces.destroy()
    assert [trace for _, trace in (await traces.read(0)).entries] == [a_trace(1), a_trace(2)]
    await traces.acknowledge(2)
    await traces.destroy()
    assert old not in kept_keys(database)
    assert len(kept_keys(database)) == 1


async def test_what_is_being_written_counts_also_when_nobody_waits_for_it(database, monkeypatch):
    log, traces = await opened(database)
    await traces.append(a_trace(1))
    written, append = asyncio.Event(), log.append

    async def late(key, payload):
        await written.wait()
        return await append(key, payload)

    monkeypatch.setattr(log, "append", lambda *entry: asyncio.shield(asyncio.create_task(late(*entry))))
    writing = asyncio.create_task(traces.append(a_trace(2)))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.sleep(0)
    await traces.forget(TRACE.payer)
    await traces.acknowledge(1)
    await traces.destroy()
    written.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert [trace for _, trace in (await traces.read(0)).entries] == [a_trace(1), a_trace(2)]
    await traces.acknowledge(2)
    await traces.destroy()
    assert kept_keys(database) == set()


async def test_forgetting_again_and_for_who_has_nothing_does_no_harm(database):
    _, traces = await opened(database)
    for _ in range(2):
        await traces.forget(OTHER)
        await traces.destroy()
    await traces.append(a_trace(1, OTHER))
    assert await traces.get(f"{1:032}") == a_trace(1, OTHER)


async def test_what_is_forgotten_leaves_the_log_like_the_others(database):
    log, traces = await opened(database)
    await traces.append(a_trace(1))
    await traces.forget(TRACE.payer)
    await traces.acknowledge(1)
    await traces.destroy()
    assert await retention(database, log, traces).step() == 1
    assert (await fault(traces.get(f"{1:032}"))).reason == "ANSWER_EXPIRED"


def kept_keys(database) -> set[str]:
    return set(database.read_now(lambda c: c.execute(store_traces.PAYER_KEY.select()).scalars().all()))


def test_how_an_answer_compared_is_kept_once(database):
    first, second = (Replayed(5, matched, "then", "now", TRACE.end_time) for matched in (5, 4))
    assert database.read_now(lambda c: store_traces.replay(c, "k")) is None
    for replayed in (first, second):
        database.write_now(lambda c, r=replayed: store_traces.keep_replay(c, "k", r))
    assert database.read_now(lambda c: store_traces.replay(c, "k")) == first
