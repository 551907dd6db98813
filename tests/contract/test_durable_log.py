"""The kit's stores on both databases."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Column, MetaData, Table, insert, select

from services.kit.database import Amount, Database
from services.kit.durable_log import DurableLog, log_tables

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


@pytest.mark.parametrize("amount", (0, -1, 2**63, 2**128 - 1, -(10**70)))
def test_amounts_are_exact(database, amount):
    database.write_now(lambda c: c.execute(insert(MONEY).values(amount=amount)))
    assert database.read_now(lambda c: c.execute(select(MONEY.c.amount)).scalar_one()) == amount
