"""The durable log, its consumer, idempotency and operations, on SQLite (the contract suite adds PostgreSQL)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import Column, Connection, MetaData, Table, Text, insert, select

from openledger.ledger.v1 import ledger_pb2
from services.kit.consumer import Consumer, EpochChanged, OutOfOrder, Page, consumer_table
from services.kit.database import Amount, Database
from services.kit.durable_log import DurableLog, log_tables
from services.kit.errors import Fault
from services.kit.idempotency import Idempotency, idempotency_table

METADATA = MetaData()
log_tables(METADATA)
consumer_table(METADATA)
idempotency_table(METADATA)
EFFECTS = Table("effect", METADATA, Column("value", Text))
MONEY = Table("money", METADATA, Column("amount", Amount))


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.db")
    database.write_now(METADATA.create_all)
    yield database
    database.close()


@pytest.fixture
def log(database):
    log = DurableLog(database, METADATA, "traces")
    log.open()
    return log


async def test_appends_at_once_get_offsets_without_gaps(log):
    offsets = await asyncio.gather(*(log.append(f"k{i}", b"%d" % i) for i in range(300)))
    assert sorted(offsets) == list(range(1, 301))
    batch = await log.read(after=0, limit=1000)
    assert [e.offset for e in batch.entries] == list(range(1, 301))
    assert batch.high_watermark == 300


async def test_the_same_key_again_gets_its_first_offset(log):
    assert await log.append("a", b"1") == 1
    assert await log.append("b", b"2") == 2
    assert await log.append("a", b"other") == 1
    entry = await log.get("a")
    assert entry is not None
    assert entry.payload == b"1"


async def test_a_reader_waits_for_what_comes(log):
    reading = asyncio.create_task(log.read(after=0, wait=5))
    await asyncio.sleep(0.05)
    await log.append("a", b"1")
    batch = await asyncio.wait_for(reading, 1)
    assert [e.key for e in batch.entries] == ["a"]


async def test_the_log_survives_its_process(log, database, tmp_path):
    await log.append("a", b"1")
    database.close()
    again = Database(f"sqlite:///{tmp_path}/x.db")
    reopened = DurableLog(again, METADATA, "traces")
    reopened.open()
    batch = await reopened.read(after=0)
    assert [e.payload for e in batch.entries] == [b"1"]
    again.close()


def _consumer(database: Database, log: DurableLog, fail_once: list[bool], gather: int = 0) -> Consumer[bytes]:
    async def read(after: int) -> Page[bytes]:
        batch = await log.read(after, limit=2)
        return Page([(e.offset, e.payload) for e in batch.entries], batch.high_watermark, batch.epoch)

    async def prepare(entries: Sequence[bytes]) -> list[str]:
        return [e.decode() for e in entries]

    def apply(connection: Connection, values: list[str]) -> None:
        for value in values:
            connection.execute(insert(EFFECTS).values(value=value))
        if fail_once and fail_once.pop():
            raise RuntimeError("struck by lightning after the effects, before the commit")

    return Consumer(database, METADATA, "openlora", read, prepare, apply, gather=gather)


async def test_every_entry_takes_effect_exactly_once(database, log):
    for i in range(5):
        await log.append(str(i), str(i).encode())
    consumer = _consumer(database, log, fail_once=[True])
    with pytest.raises(RuntimeError, match="lightning"):
        await consumer.step()
    while await consumer.step():
        pass
    rows = database.read_now(lambda c: [r.value for r in c.execute(select(EFFECTS.c.value))])
    assert rows == ["0", "1", "2", "3", "4"]
    assert consumer.lag == 0


@pytest.mark.parametrize(("gather", "steps"), ((0, [2, 2, 1]), (2, [2, 2, 1]), (3, [4, 1]), (9, [5])))
async def test_pages_are_gathered_into_one_transaction_while_there_are_more(database, log, gather, steps):
    for i in range(5):
        await log.append(str(i), str(i).encode())
    consumer = _consumer(database, log, [True], gather)
    with pytest.raises(RuntimeError, match="lightning"):
        await consumer.step()
    assert database.read_now(lambda c: c.execute(select(EFFECTS)).all()) == []
    assert [await consumer.step() for _ in steps] == steps
    assert await consumer.step() == 0
    rows = database.read_now(lambda c: [r.value for r in c.execute(select(EFFECTS.c.value))])
    assert rows == ["0", "1", "2", "3", "4"]


async def test_a_log_that_is_made_anew_between_two_pages_stops_the_consumer_and_nothing_takes_effect(database):
    epochs = iter(("one", "another"))

    async def read(after: int) -> Page[bytes]:
        return Page([(after + 1, b"x")], 9, next(epochs))

    applied: list[bytes] = []

    async def prepare(entries: Sequence[bytes]) -> Sequence[bytes]:
        return entries

    consumer = Consumer(database, METADATA, "o", read, prepare, lambda _, work: applied.extend(work), gather=9)
    with pytest.raises(EpochChanged):
        await consumer.step()
    assert applied == []


async def test_a_log_made_anew_stops_the_consumer(database, log):
    await log.append("a", b"a")
    consumer = _consumer(database, log, [])
    await consumer.step()
    heads = METADATA.tables["log_head"]
    database.write_now(lambda c: c.execute(heads.update().values(epoch="another", number=0)))
    with pytest.raises(EpochChanged):
        await consumer.step()


@pytest.mark.parametrize("offsets", ((2, 1), (1, 3), (2,), (1, 1), (0, 1)))
async def test_entries_out_of_order_or_left_out_stop_the_consumer_and_nothing_takes_effect(database, offsets):
    given = list(offsets)

    async def read(after: int) -> Page[bytes]:
        return Page([(offset, b"x") for offset in given if offset > after or offset == 0], 3, "first")

    applied: list[int] = []

    async def prepare(entries: Sequence[bytes]) -> int:
        return len(entries)

    consumer = Consumer(database, METADATA, "openlora", read, prepare, lambda _, count: applied.append(count))
    with pytest.raises(OutOfOrder, match="openlora gives offsets"):
        await consumer.step()
    assert applied == []
    given[:] = [1, 2]
    assert await consumer.step() == 2
    assert applied == [2]


async def test_an_older_copy_of_a_log_stops_the_consumer(database, log):
    # Of the same epoch, so that only its length tells: what it takes in next would have offsets that were read before.
    for key in "abc":
        await log.append(key, b"x")
    consumer = _consumer(database, log, [])
    while await consumer.step():
        pass
    entries, heads = METADATA.tables["log_entry"], METADATA.tables["log_head"]
    database.write_now(lambda c: c.execute(entries.delete().where(entries.c.number > 1)))
    database.write_now(lambda c: c.execute(heads.update().values(number=1)))
    with pytest.raises(EpochChanged, match="ends at offset 1, and 3 were read of it"):
        await consumer.step()


async def test_an_older_copy_that_grew_past_the_old_place_is_noticed_by_the_new_epoch_it_was_given(database, log):
    for key in "abc":
        await log.append(key, b"x")
    consumer = _consumer(database, log, [])
    while await consumer.step():
        pass
    entries, heads = METADATA.tables["log_entry"], METADATA.tables["log_head"]
    database.write_now(lambda c: c.execute(entries.delete().where(entries.c.number > 1)))
    database.write_now(lambda c: c.execute(heads.update().values(number=1)))
    # What docs/recovery.md has an operator do.
    database.write_now(lambda c: c.exec_driver_sql("UPDATE log_head SET epoch = 'put back on 27 November'"))
    for key in "defg":
        await log.append(key, b"y")
    with pytest.raises(EpochChanged, match="has log epoch put back on 27 November"):
        await consumer.step()


def test_a_request_id_belongs_to_one_request(database):
    store = Idempotency(METADATA)
    first, other = ledger_pb2.CloseEpochRequest(request_id="1"), ledger_pb2.CloseEpochRequest(request_id="2")
    answer = ledger_pb2.Epoch(name="epochs/1")

    def remember(connection: Connection) -> None:
        assert store.recall(connection, "me", "CloseEpoch", "id", first, ledger_pb2.Epoch) is None
        store.remember(connection, "me", "CloseEpoch", "id", first, answer)

    database.write_now(remember)
    assert database.read_now(lambda c: store.recall(c, "me", "CloseEpoch", "id", first, ledger_pb2.Epoch)) == answer
    assert database.read_now(lambda c: store.recall(c, "you", "CloseEpoch", "id", other, ledger_pb2.Epoch)) is None
    with pytest.raises(Fault) as caught:
        database.read_now(lambda c: store.recall(c, "me", "CloseEpoch", "id", other, ledger_pb2.Epoch))
    assert caught.value.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("amount", (0, 1, -1, 2**63, 2**128 - 1, -(2**200)))
def test_amounts_are_exact_at_any_size(database, amount):
    database.write_now(lambda c: c.execute(insert(MONEY).values(amount=amount)))
    assert database.read_now(lambda c: c.execute(select(MONEY.c.amount)).scalar_one()) == amount


def test_a_float_is_no_amount(database):
    with pytest.raises(Exception, match="an amount is an int, not float"):
        database.write_now(lambda c: c.execute(insert(MONEY).values(amount=1.5)))


async def test_a_failed_transaction_leaves_nothing(database):
    def broken(connection: Connection) -> None:
        connection.execute(insert(EFFECTS).values(value="half"))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(broken)
    assert database.read_now(lambda c: c.execute(select(EFFECTS)).all()) == []
