"""`kill -9` of the ledger at 100 points of its life on a real chain: nothing lost, nothing doubled, no nonce left out.

A real process, a real anvil, while deposits, receipts, epochs, claims and anchors keep coming.  Every named point of
the way from a receipt to a final transaction is hit for certain; the rest are moments at random, from its first import
on.  In the end the ledger says what the chain says, and both say what was asked for.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal

import pytest

from tests import chains
from tests.ledger_lives import POINTS, Lives
from tests.ledger_load import Load, check, environment, settled
from tests.ledger_world import FUNDED, OPERATOR, Attribution, World, attribution_served
from tests.needs import needs
from tests.ports import six_free_ports

KILLS = int(os.environ.get("OPENLEDGER_KILLS", "100"))
SEED = int(os.environ.get("OPENLEDGER_SEED", "1"))
LIFE_SECONDS = 1.5
REACHED_SECONDS = 40
FEW = frozenset({"seal", "redeemed", "published", "advance", "anchored"})  # of an epoch, or an anchor: the first counts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), needs("anvil")]


@pytest.fixture
async def world(database_url, tmp_path):
    servicer, port = Attribution(), six_free_ports()
    with chains.anvil(*FUNDED) as url:
        async with attribution_served(servicer) as address:
            found = World(tmp_path, url, servicer, address)
            found.more |= {"database_url": database_url, "listen": f"127.0.0.1:{port}", "relay_wait_seconds": 3}
            found.more |= {"operators": (OPERATOR.address,), "log_level": "error"}
            yield found


def deaths(draw: random.Random) -> list[tuple[str | None, int]]:
    """Every named point once, and moments at random; in random order."""
    named = [(point, 1 if point.split(":")[0] in FEW else draw.randrange(1, 4)) for point in POINTS]
    found: list[tuple[str | None, int]] = [*named, *((None, 0) for _ in range(KILLS - len(named)))]
    draw.shuffle(found)
    return found[:KILLS]


async def test_killed_anywhere_it_loses_nothing_doubles_nothing_and_leaves_no_nonce_out(world):
    draw, served = random.Random(SEED), 0
    load = Load(world, world.more["listen"])
    given = environment(world)

    def serves() -> None:
        nonlocal served
        served += 1

    async with Lives() as lives:
        first = await lives.begin(given)
        await lives.ready()
        load.pays_in()
        people = [asyncio.create_task(someone()) for someone in load.people()]
        await asyncio.sleep(LIFE_SECONDS)
        os.kill(first, signal.SIGKILL)
        await lives.over()
        for point, nth in deaths(draw):
            pid = await lives.begin(given, point, nth)
            ending = asyncio.create_task(lives.over(serves))
            seconds = REACHED_SECONDS if point else draw.uniform(0.05, LIFE_SECONDS)
            await asyncio.wait({ending, *people}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for someone in people:
                assert not someone.done(), someone.result()
            assert point is None or ending.done(), f"{point} was not reached"
            if not ending.done():
                os.kill(pid, signal.SIGKILL)
            assert os.WTERMSIG(await ending) == signal.SIGKILL
        await lives.begin(given)
        await lives.ready()
        load.stop = True
        await asyncio.gather(*people)
        await settled(world, load)
        await check(world, load)
    assert served > 0 or KILLS < 5
    print(f"\nOPENLEDGER_SEED={SEED}: {KILLS} kills, {served} of them while it served; {load.fees}, {load.deposited}")
