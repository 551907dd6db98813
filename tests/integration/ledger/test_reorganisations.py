"""Blocks go at any time, as deep as they like: in the end the ledger equals the chain that is.

Random schedules on anvil: deposits, answers, withdrawals, epochs, claims, the ledger's own transactions under way; in
the midst of it up to twelve blocks are taken back, of which one confirmation was all that anybody waited for.
"""

from __future__ import annotations

import os
import random

import pytest

from services.kit import logs
from tests import chains
from tests.chains import OPERATOR, STRANGER
from tests.needs import needs
from tests.reorg_world import Ledger, World

SEED = int(os.environ.get("OPENLEDGER_SEED", "1"))
FEW, MANY = 8, int(os.environ.get("OPENLEDGER_SCHEDULES", "500"))
ON_ONE = 25
"""Schedules on one database: the chain is compared as a whole each time."""

pytestmark = [needs("anvil"), pytest.mark.slow]


@pytest.fixture(autouse=True, scope="module")
def _logs():
    """What is said of every block that goes is for operators."""
    logs.configure("critical")
    yield
    logs.configure("warning")


@pytest.fixture(scope="module")
def anvil():
    with chains.anvil(OPERATOR.address, STRANGER.address) as url:
        yield url


async def schedule(world: World) -> None:
    draw = world.draw
    for _ in range(draw.randrange(1, 3)):
        for _ in range(draw.randrange(2, 9)):
            await world.act()
            match draw.randrange(5):
                case 0:
                    await world.ledger.step()
                case 1:
                    await world.ledger.writer.step()
                case 2:
                    await world.ledger.follow()
                case 3:
                    await world.ledger.settle()
        world.reorganise()
    await world.quiet()
    world.agree()


async def schedules(anvil, folder, count: int) -> None:
    for number in range(count):
        if number % ON_ONE == 0:
            draw = random.Random(SEED * 1000 + number // ON_ONE)
            (place := folder / str(number)).mkdir()
            ledger = Ledger(place, anvil, confirmations=1)
            world = World(ledger, draw)
            await world.deposit(world.payers[0])
        try:
            await schedule(world)
        except BaseException as error:
            error.add_note(f"schedule {number} of OPENLEDGER_SEED={SEED}")
            raise
        if number % ON_ONE == ON_ONE - 1 or number == count - 1:
            ledger.close()


async def test_after_any_reorganisation_the_ledger_equals_the_chain(anvil, tmp_path):
    await schedules(anvil, tmp_path, FEW)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_after_five_hundred_reorganisations_the_ledger_equals_the_chain(anvil, tmp_path):
    await schedules(anvil, tmp_path, MANY)
