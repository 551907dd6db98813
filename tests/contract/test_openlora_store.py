"""OpenLoRA's store, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from openledger.money import MAX_AMOUNT
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.openlora import store
from services.openlora.__main__ import MIGRATIONS
from services.openlora.charges import Charges
from services.openlora.store import Asked, Held

PAYER = "accounts/0x" + "a" * 40
ASKED = Asked("r1", PAYER, MAX_AMOUNT, 7)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url)
    found.migrate(MIGRATIONS)
    yield found
    found.close()


def test_the_migrated_schema_is_the_one_in_the_code(database):
    with_types = {"compare_type": True}
    compared = database.write_now(
        lambda c: compare_metadata(MigrationContext.configure(c, opts=with_types), store.METADATA)
    )
    assert compared == []


def test_a_lease_is_asked_for_then_held_then_closed(database):
    database.write_now(lambda c: store.ask(c, ASKED))
    assert database.read_now(store.asked) == [ASKED]
    assert database.read_now(store.held) == []
    database.write_now(lambda c: store.hold(c, "r1", "leases/1", MAX_AMOUNT - 1, 1_800_000_000.5))
    assert database.read_now(store.asked) == []
    assert database.read_now(store.held) == [Held("leases/1", PAYER, MAX_AMOUNT - 1, 1_800_000_000.5, 7)]
    database.write_now(lambda c: store.close(c, "leases/1", 5))
    assert database.read_now(store.held) == []


def test_a_refused_lease_leaves_nothing_and_a_held_one_cannot_be_refused(database):
    database.write_now(lambda c: store.ask(c, ASKED))
    database.write_now(lambda c: store.refused(c, "r1"))
    assert database.read_now(store.asked) == []
    database.write_now(lambda c: store.ask(c, ASKED))
    database.write_now(lambda c: store.hold(c, "r1", "leases/1", 5, 1.0))
    database.write_now(lambda c: store.refused(c, "r1"))
    assert [lease.name for lease in database.read_now(store.held)] == ["leases/1"]


def test_one_lease_never_answers_two_requests(database):
    for number in (1, 2):
        database.write_now(lambda c, n=number: store.ask(c, Asked(f"r{n}", PAYER, 1, 0)))
    database.write_now(lambda c: store.hold(c, "r1", "leases/1", 1, 1.0))
    with pytest.raises(IntegrityError):
        database.write_now(lambda c: store.hold(c, "r2", "leases/1", 1, 1.0))


def test_taking_space_takes_it_and_giving_it_back_leaves_nothing(database):
    for _ in range(2):
        database.write_now(store.take_space)
        assert database.read_now(lambda c: len(c.execute(store.PROBE.select()).all())) == 1
        database.write_now(store.give_space)
        assert database.read_now(lambda c: c.execute(store.PROBE.select()).all()) == []


async def test_charges_are_summed_by_lease_from_the_log_of_any_life(database):
    log = DurableLog(database, store.METADATA, "traces")
    log.open()

    async def charge(key: str, lease: str, fee: int) -> None:
        await log.append(key, json.dumps({"lease": lease, "fee": str(fee)}).encode())

    await charge("before", "leases/other", 1)
    await asyncio.gather(*(charge(f"old{n}", "leases/old", 2**100) for n in range(1200)))
    charges = Charges(log)
    charges.resume({"leases/old": 1})
    charges.track("leases/new", 1201)
    await charge("new", "leases/new", 3)
    await charge("new", "leases/new", 3)  # the same answer
    assert await charges.used("leases/old") == 1200 * 2**100
    assert await charges.used("leases/new") == 3
    await charge("late", "leases/new", 4)
    charges.forget("leases/old")
    assert await charges.used("leases/new") == 7
    charges.forget("leases/new")
    charges.track("leases/next", 1203)
    await charge("next", "leases/next", 9)
    assert await charges.used("leases/next") == 9
