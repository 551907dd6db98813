"""Two ledgers on one database, one of them paused in the midst of its work and continued later: one sends at a time.

Real processes, PostgreSQL, anvil.  Whoever has the pen is stopped (SIGSTOP), at a named point or at any moment; the
other takes over; the first goes on where it was, believing that nothing happened.  Never two roots for one epoch,
never a thing sent twice, no nonce left out.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from services.kit.database import Database
from services.ledger.store.tables import SENDER
from tests import chains, postgres
from tests.ledger_lives import Lives
from tests.ledger_load import Load, check, environment, settled
from tests.ledger_world import FUNDED, Attribution, World, attribution_served
from tests.needs import needs
from tests.ports import six_free_ports

SEED = int(os.environ.get("OPENLEDGER_SEED", "1"))
PEN_SECONDS = 2
POINTS = (
    "broadcast: before", "sign: before the commit", "sign: after the commit", "mined: before the commit",
    "final: after the commit", "advance: before the commit", "follow: before the commit", None, None,
)  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), needs("anvil", "postgresql")]


class Replica:
    """One of the two processes, with a folder of its own."""

    def __init__(self, world: World, lives: Lives, port: int, name: str) -> None:
        self._world, self._lives, self.name = world, lives, name
        self.where = f"127.0.0.1:{port}"
        self.folder = world.folder / name
        self.pid = 0

    async def begin(self, point: str | None = None) -> None:
        given = environment(self._world, data_dir=self.folder, listen=self.where)
        self.pid = await self._lives.begin(given, point, how=signal.SIGSTOP)
        await self._lives.ready()

    async def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        await self._lives.over()

    @property
    def stopped(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    @property
    def holder(self) -> str:
        return (self.folder / "replica").read_text()


@pytest.fixture
async def world(postgres_cluster, tmp_path) -> AsyncIterator[World]:
    servicer = Attribution()
    with chains.anvil(*FUNDED) as url, postgres.fresh_database(postgres_cluster) as database:
        async with attribution_served(servicer) as address:
            found = World(tmp_path, url, servicer, address)
            found.more |= {"database_url": database, "relay_wait_seconds": 3, "pen_seconds": PEN_SECONDS}
            found.more |= {"contracts_file": tmp_path / "ledger" / "contracts.json", "log_level": "error"}
            yield found


async def until(so, seconds: float, what: str) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(so):
            await asyncio.sleep(0.02)
    assert so(), what


async def test_one_sends_and_who_was_paused_does_no_harm(world):
    draw = random.Random(SEED)
    port = six_free_ports()
    async with AsyncExitStack() as stack:
        one, two = [
            Replica(world, await stack.enter_async_context(Lives()), port + number, name)
            for number, name in enumerate(("ledger", "other"))
        ]
        await one.begin()
        two.folder.mkdir()
        shutil.copy(one.folder / "sessions.pem", two.folder)  # sessions of one are good at the other
        await two.begin()
        database = Database(world.config().database)

        def sends() -> str:
            return database.read_now(lambda c: c.execute(SENDER.select()).one()).holder

        load = Load(world, two.where)  # whoever is asked: the other, at first, is not the one that sends
        assert sends() == one.holder
        load.pays_in()
        people = [asyncio.create_task(someone()) for someone in load.people()]
        for point in draw.sample(POINTS, len(POINTS)):
            await _pause(draw, point, one, two, sends)
            for someone in people:
                assert not someone.done(), someone.result()
        await until(lambda: sends() in (one.holder, two.holder), 10, "nobody sends")
        load.stop = True
        await asyncio.gather(*people)
        await settled(world, load)
        await check(world, load)
        await one.end()
        await two.end()
        database.close()


async def _pause(draw: random.Random, point: str | None, one: Replica, two: Replica, sends) -> None:
    """The one that is not asked has the pen, is stopped, and goes on when the other has had it for a while."""
    await one.end()
    await until(lambda: sends() == two.holder, 40, "the other does not take over")
    await one.begin(point)
    # It gets the pen by the other's being away for longer than the pen is lent for.
    os.kill(two.pid, signal.SIGSTOP)
    # Locks that the paused one holds beside the pen are let go one after another, seconds each (kit/database.py).
    await until(lambda: sends() == one.holder, 90, "it is not taken over from who is paused")
    os.kill(two.pid, signal.SIGCONT)
    if point is None:
        await asyncio.sleep(draw.uniform(0.1, 2))
        os.kill(one.pid, signal.SIGSTOP)
    await until(lambda: one.stopped, 40, f"{point} was not reached")
    await until(lambda: sends() == two.holder, 40, "the other does not take over")
    await asyncio.sleep(draw.uniform(0, 1.5))
    os.kill(one.pid, signal.SIGCONT)
    await asyncio.sleep(draw.uniform(0.3, 1.0))
