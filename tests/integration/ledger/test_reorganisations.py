"""Blocks go at any time, as deep as they like: in the end the ledger equals the chain that is.

Random schedules on anvil: deposits, answers, withdrawals, epochs, claims, roots that are vetoed and challenged, the
ledger's own transactions under way; in the midst of it up to twelve blocks are taken back, of which one confirmation
was all that anybody waited for.
"""

from __future__ import annotations

import os
import random
from contextlib import nullcontext

import pytest

from services.kit import logs
from services.ledger.store import chain as sent
from services.ledger.store import epochs
from services.ledger.store.epochs import State
from tests import chains, postgres
from tests.chains import OPERATOR, STRANGER
from tests.needs import needs
from tests.reorg_world import Ledger, World

SEED = int(os.environ.get("OPENLEDGER_SEED", "1"))
FEW, MANY = 8, int(os.environ.get("OPENLEDGER_SCHEDULES", "500"))
ON_POSTGRESQL = MANY // 5
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
        await world.go_on(draw.choice(world.payers))
        world.reorganise()
        await world.guard()
    await world.quiet()
    world.agree()


async def schedules(anvil, folder, count: int, cluster: str = "") -> None:
    """On SQLite, or in databases of that PostgreSQL."""
    for first in range(0, count, ON_ONE):
        with postgres.fresh_database(cluster) if cluster else nullcontext("") as database:
            await schedules_on_one(anvil, folder, range(first, min(first + ON_ONE, count)), database)


async def schedules_on_one(anvil, folder, numbers: range, database: str) -> None:
    draw = random.Random(SEED * 1000 + numbers[0] // ON_ONE)
    (place := folder / str(numbers[0])).mkdir()
    ledger = Ledger(place, anvil, confirmations=1, database=database)
    world = World(ledger, draw)
    await world.deposit(world.payers[0])
    for number in numbers:
        try:
            await schedule(world)
        except BaseException as error:
            error.add_note(f"schedule {number} of OPENLEDGER_SEED={SEED}")
            raise
    ledger.close()


@pytest.fixture
async def world(anvil, tmp_path):
    """An answer is paid for, and its epoch is closed."""
    ledger = Ledger(tmp_path, anvil, confirmations=1)
    found = World(ledger, random.Random(1))
    for _ in range(4):
        await found.deposit(found.payers[0])
    await found.quiet()
    await found.answer(found.payers[0])
    await found.close(found.payers[0])
    yield found
    ledger.close()


async def until(world: World, state: State) -> epochs.Epoch:
    """The newest epoch, once it is so."""
    for _ in range(30):
        found = world.ledger.read(epochs.newest)
        if found.state is state:
            return found
        world.mine()
        await world.ledger.step()
    raise AssertionError(found)


async def test_a_veto_from_within_the_window_that_comes_late_is_believed(world):
    """The node did not have the block when the window was over by the clock."""
    await until(world, State.PROPOSED)
    await world.veto_late(world.payers[0])
    assert world.chain.last_epoch() == 0
    await world.quiet()
    assert world.ledger.read(epochs.newest).state is State.VETOED
    await world.close(world.payers[0])
    await world.quiet()
    assert world.ledger.read(epochs.newest).key == "1.2"
    assert world.chain.active_epoch() == 1
    world.agree()


async def test_a_root_that_paid_and_is_pending_again_can_be_vetoed_though_another_is_sealed_on_it(world):
    """All blocks after its own are taken back, and time with them."""
    first = await until(world, State.ACTIVE)
    proposed = world.ledger.read(lambda c: sent.get(c, f"root:{first.key}")).block
    await world.answer(world.payers[0])
    await world.close(world.payers[0])
    world.rpc("anvil_reorg", world.chain.head().number - proposed, [])
    await world.veto(world.payers[0])
    assert world.chain.last_epoch() == 0
    for _ in range(4):
        world.mine()
        await world.ledger.step()
    found = world.ledger.read(lambda c: epochs.page(c, None, 9))
    assert [epoch.state for epoch in found] == [State.SEALED, State.VETOED]
    await world.close(world.payers[0])
    await world.quiet()
    found = world.ledger.read(lambda c: epochs.page(c, None, 9))
    assert [(epoch.key, epoch.state) for epoch in found] == [("2.1", State.ACTIVE), ("1.2", State.ACTIVE)]
    world.agree()


async def test_after_any_reorganisation_the_ledger_equals_the_chain(anvil, tmp_path):
    await schedules(anvil, tmp_path, FEW)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_after_five_hundred_reorganisations_the_ledger_equals_the_chain(anvil, tmp_path):
    await schedules(anvil, tmp_path, MANY)


@needs("postgresql")
@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_after_a_hundred_reorganisations_the_ledger_on_postgresql_equals_the_chain(
    anvil, tmp_path, postgres_cluster
):
    await schedules(anvil, tmp_path, ON_POSTGRESQL, postgres_cluster)
