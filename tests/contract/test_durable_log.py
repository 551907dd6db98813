"""The kit's stores on both databases."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Column, MetaData, Table, insert, select

from services.kit.database import Amount, Database
from services.kit.durable_log import DurableLog, log_tables
from services.kit.errors import Fault

METADATA = MetaData()
log_tables(METADATA)
MONEY = Table("money", METADATA, Column("amount", Amount))


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.write_now(METADATA.create_all)
    yield database
    database.close()


async def test_writers_of_two_processes_never_leave_a_gap_or_swap_an_order(database, database_url):
    other = Database(database_url)
    logs = [DurableLog(database, METADATA, "s"), DurableLog(other, METADATA, "s")]
    for log in logs:
        log.open()
    await asyncio.gather(*(logs[i % 2].append(f"k{i}", b"x") for i in range(200)))
    batch = await logs[0].read(0, limit=1000)
    other.close()
    assert [e.offset for e in batch.entries] == list(range(1, 201))
    assert {e.key for e in batch.entries} == {f"k{i}" for i in range(200)}


async def test_a_reader_of_another_process_sees_what_comes(database, database_url):
    other = Database(database_url)
    writer, reader = DurableLog(database, METADATA, "s"), DurableLog(other, METADATA, "s")
    writer.open()
    reading = asyncio.create_task(reader.read(0, wait=10))
    await asyncio.sleep(0.1)
    await writer.append("a", b"1")
    assert [e.key for e in (await reading).entries] == ["a"]
    other.close()


async def test_a_page_holds_no_more_bytes_than_it_may_and_always_one_entry(database):
    log = DurableLog(database, METADATA, "s")
    log.open()
    for number, size in enumerate((10, 10, 10, 50, 10), start=1):
        await log.append(f"k{number}", b"x" * size)

    async def page(after, most_bytes, limit=100):
        return [entry.offset for entry in (await log.read(after, limit, most_bytes=most_bytes)).entries]

    assert await page(0, 1000) == [1, 2, 3, 4, 5]
    assert await page(0, 30) == [1, 2, 3]
    assert await page(0, 29) == [1, 2]
    assert await page(0, 1000, limit=2) == [1, 2]
    assert await page(3, 20) == [4]
    assert await page(4, 20) == [5]
    assert await page(5, 20) == []


async def filled(database, count):
    log = DurableLog(database, METADATA, "s")
    log.open()
    await asyncio.gather(*(log.append(f"k{number}", b"x") for number in range(1, count + 1)))
    return log


async def test_removed_entries_leave_no_silent_gap(database):
    log, other = await filled(database, 5), DurableLog(database, METADATA, "other")
    other.open()
    await other.append("k1", b"x")
    await log.compact(3)
    assert await log.first() == 4
    assert [entry.offset for entry in (await log.read(3)).entries] == [4, 5]
    assert await log.get("k3") is None
    for after in (0, 2):
        with pytest.raises(Fault) as caught:
            await log.read(after)
        assert (caught.value.reason, caught.value.metadata) == ("OFFSET_COMPACTED", {"after_offset": str(after)})
    assert (await log.read(0, limit=0)).high_watermark == 5, "where the log ends can be asked all the same"
    assert [entry.key for entry in (await other.read(0)).entries] == ["k1"]


async def test_a_log_without_entries_goes_on_where_it_was(database):
    log = await filled(database, 3)
    assert await log.first() == 1
    await log.compact(3)
    assert await log.first() == 4
    assert (await log.read(3)).entries == ()
    with pytest.raises(Fault):
        await log.read(2, wait=0)
    assert await log.append("k4", b"x") == 4
    assert [entry.offset for entry in (await log.read(3)).entries] == [4]


async def test_what_stays_of_removed_entries_is_kept_with_their_removal_or_not_at_all(database):
    log = await filled(database, 2)

    def fails(connection):
        connection.execute(insert(MONEY).values(amount=1))
        raise RuntimeError("in the midst")

    with pytest.raises(RuntimeError):
        await log.compact(2, fails)
    assert len((await log.read(0)).entries) == 2
    assert database.read_now(lambda c: c.execute(select(MONEY.c.amount)).all()) == []
    await log.compact(2, lambda c: c.execute(insert(MONEY).values(amount=1)))
    assert database.read_now(lambda c: c.execute(select(MONEY.c.amount)).all()) == [(1,)]


@pytest.mark.parametrize("amount", (0, -1, 2**63, 2**128 - 1, -(10**70)))
def test_amounts_are_exact(database, amount):
    database.write_now(lambda c: c.execute(insert(MONEY).values(amount=amount)))
    assert database.read_now(lambda c: c.execute(select(MONEY.c.amount)).scalar_one()) == amount
