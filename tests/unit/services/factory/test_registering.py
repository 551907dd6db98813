from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from services.factory import store, store_revisions
from services.factory.bell import Bell
from services.factory.model import Metrics, Registration, Revision
from services.factory.registering import NotRegistered, Registering


class Chain:
    """A registrar that is away as often as is written, and never takes what it refuses."""

    def __init__(self, away=0, refused=()):
        self.away, self.refused, self.asked = away, refused, []

    async def register(self, revision):
        self.asked.append(revision.name)
        if revision.name in self.refused:
            raise NotRegistered("its snapshot is not anchored")
        if self.away:
            self.away -= 1
            raise NotRegistered("the ledger does not answer")
        return Registration(31337, "0xc0", f"0x{len(self.asked):02x}", 7)


@pytest.fixture
def publish(database, job):
    database.write_now(lambda c: store.claim_adapter(c, job.adapter, job.owner))
    database.write_now(lambda c: store.add_fine_tune(c, job, "made"))

    def put(number):
        metrics = Metrics(1, 0, {}, 1, 0.0, 0.0, 10, 1.0)
        made = Revision(f"adapters/letters/revisions/{number}", job.adapter, job.id, b"{}", metrics, datetime.now(UTC))
        database.write_now(lambda c: store_revisions.add_revision(c, made))
        return made.name

    return put


@pytest.fixture
def registering(database):
    @asynccontextmanager
    async def run(chain, bell):
        running = asyncio.create_task(Registering(database, chain, bell, 30.0, 0.01).run())
        yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    return run


async def on_chain(database, name):
    async with asyncio.timeout(100):
        while True:
            revision = await database.read(lambda c: store_revisions.find_revision(c, name))
            if revision.registration is not None:
                return revision.registration
            await asyncio.sleep(0.01)


async def test_what_is_published_gets_on_chain_once(database, publish, registering):
    first, bell, chain = publish(1), Bell(), Chain()
    async with registering(chain, bell):
        assert (await on_chain(database, first)).chain_id == 31337
        second = publish(2)
        bell.ring()
        await on_chain(database, second)
    assert chain.asked == [first, second]


async def test_a_registry_that_is_away_is_asked_again(database, publish, registering):
    name, chain = publish(1), Chain(away=3)
    async with registering(chain, Bell()):
        await on_chain(database, name)
    assert chain.asked == [name] * 4


async def test_many_at_once_all_get_there(database, publish, registering):
    names, chain = [publish(i) for i in range(20)], Chain()
    async with registering(chain, Bell()):
        for name in names:
            await on_chain(database, name)
    assert sorted(chain.asked) == sorted(names)


async def test_what_is_refused_for_good_keeps_no_other_waiting(database, publish, registering):
    bad = [publish(i) for i in range(20)]
    good = publish("good")
    async with registering(Chain(refused=bad), Bell()):
        await on_chain(database, good)
        later = publish("later")
        await on_chain(database, later)
    assert set(database.read_now(store_revisions.unregistered)) == set(bad)


async def test_one_that_cannot_even_be_asked_for_keeps_no_other_waiting(database, publish, registering):
    class Broken(Chain):
        async def register(self, revision):
            if revision.name == broken:
                raise ValueError("its manifest is not one that this version reads")
            await asyncio.sleep(0.05)
            return await super().register(revision)

    broken, good = publish("broken"), publish("good")
    chain = Broken()
    async with registering(chain, Bell()):
        await on_chain(database, good)
        await on_chain(database, publish("later"))
    assert chain.asked.count(good) == 1
