"""Which splits hold by the chain, and since when that is all that it holds."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from sqlalchemy import delete, update

from services.kit.database import Database
from services.ledger import journal
from services.ledger.chain import Claimed, Deposit, SplitHolds
from services.ledger.registries import Split
from services.ledger.store import chain as store
from services.ledger.store import events, splits
from services.ledger.store.tables import EVENT, METADATA
from tests.fake_chain import FakeChain
from tests.follower_world import (
    REVISION,
    A,
    B,
    balance,
    catch_up,
    everything,
    follower_on,
    happens,
    splits_of,
)


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.write_now(METADATA.create_all)
    yield database
    database.close()


@pytest.fixture
def chain():
    return FakeChain()


async def test_splits_are_noted_by_blocks_that_count_and_go_with_them(database, chain):
    follower = follower_on(database, chain, confirmations=1)
    happens(chain, SplitHolds, REVISION, Split(2000, 1000), 1001)
    happens(chain, SplitHolds, "d" * 64, Split(1, 1), 1002)
    happens(chain, SplitHolds, REVISION, Split(500, 0), 1003)
    await everything(follower)
    assert splits_of(database) == [(2000, 1001)]
    chain.mine()
    await everything(follower)
    follower = follower_on(database, chain, confirmations=1)
    await everything(follower)
    assert splits_of(database) == [(2000, 1001), (500, 1003)]
    chain.undo(2)
    chain.drop("splits")
    chain.mine()
    chain.mine()
    chain.mine()
    await catch_up(follower)
    assert splits_of(database) == [(2000, 1001)]
    chain.undo(5)
    chain.events["splits"].clear()
    for _ in range(7):
        chain.mine()
    await catch_up(follower)
    assert splits_of(database) == []


async def test_it_is_known_when_everything_that_counts_was_read(database, chain, monkeypatch):
    def read_time():
        return database.read_now(lambda c: store.read_time(c, chain.contracts.escrow))

    clock = [1000.0]
    monkeypatch.setattr(
        "services.ledger.chain_follower.time", SimpleNamespace(time=lambda: clock[0], monotonic=lambda: clock[0])
    )
    follower = follower_on(database, chain, confirmations=1)
    happens(chain, Deposit, A, 100, 100)
    chain.mine()
    assert read_time() is None
    await everything(follower)
    assert read_time() == 1000
    clock[0] = 1009.0
    await everything(follower)
    assert read_time() == 1000
    clock[0] = 1011.0
    await everything(follower)
    assert read_time() == 1011
    whole, chain.blocks = chain.blocks, chain.blocks[:2]  # the node is behind: what counts now is not known
    clock[0] = 2000.0
    await everything(follower)
    assert read_time() == 1011
    chain.blocks = whole
    chain.undo(2)
    chain.events["deposits"].clear()
    for _ in range(4):
        chain.mine()
    await follower.step()
    assert read_time() is None  # what went is taken back, what came is not read yet
    await everything(follower)
    assert read_time() == 2000


async def test_of_a_node_that_stands_still_no_more_is_known_than_up_to_its_newest_block(database, chain, monkeypatch):
    """A change of a split may be in the blocks that it does not have; on a chain that is quiet there are none."""
    clock = [1000.0]
    monkeypatch.setattr(
        "services.ledger.chain_follower.time", SimpleNamespace(time=lambda: clock[0], monotonic=lambda: clock[0])
    )
    follower = follower_on(database, chain, quiet=False)

    def known() -> int | None:
        return database.read_now(lambda c: store.read_time(c, chain.contracts.escrow))

    for mined in (995, 2000):  # then its clock is ahead
        chain.mine()
        chain.blocks[-1] = replace(chain.blocks[-1], timestamp=mined)
        await everything(follower)
        assert known() == min(mined, 1000)
    chain.blocks[-1] = replace(chain.blocks[-1], timestamp=1000)
    clock[0] = 5000.0
    await everything(follower)
    assert known() == 1000
    assert await follower_on(database, chain).step() == 0
    assert known() == 5000


@pytest.mark.parametrize("quiet", (True, False))
async def test_while_a_change_does_not_count_yet_no_more_is_known_than_up_to_it(database, chain, monkeypatch, quiet):
    """Its block may take long to count: where blocks are slow, many must be on it, or none come by themselves."""
    clock = [1000.0]
    monkeypatch.setattr(
        "services.ledger.chain_follower.time", SimpleNamespace(time=lambda: clock[0], monotonic=lambda: clock[0])
    )
    follower = follower_on(database, chain, confirmations=2, quiet=quiet)

    async def known(now: int) -> int | None:
        clock[0] = float(now)
        chain.mine()
        chain.blocks[-1] = replace(chain.blocks[-1], timestamp=now)
        await everything(follower)
        return database.read_now(lambda c: store.read_time(c, chain.contracts.escrow))

    assert [await known(now) for now in (900, 1000, 1100, 1200)] == [None, 1000, 1100, 1200]
    happens(chain, SplitHolds, REVISION, Split(1, 1), 1300)
    happens(chain, SplitHolds, REVISION, Split(2, 2), 1310)
    assert await known(1400) == 1310  # one of the two counts, and the other does not
    clock[0] = 1500.0
    await everything(follower)
    assert database.read_now(lambda c: store.read_time(c, chain.contracts.escrow)) == 1310
    assert await known(1600) == 1600
    assert splits_of(database) == [(1, 1300), (2, 1310)]


async def test_what_takes_long_to_read_is_known_as_of_when_it_was_begun(database, chain, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(
        "services.ledger.chain_follower.time", SimpleNamespace(time=lambda: clock[0], monotonic=lambda: clock[0])
    )
    follower, real = follower_on(database, chain), chain.deposits

    def slow(*blocks):
        clock[0] += 700
        return real(*blocks)

    monkeypatch.setattr(chain, "deposits", slow)
    chain.mine()
    await follower.step()
    assert database.read_now(lambda c: store.read_time(c, chain.contracts.escrow)) == 1000


@pytest.mark.parametrize("a_block", (1, 400))
async def test_a_sum_that_never_fits_does_not_hide_what_the_chain_holds(database, chain, monkeypatch, a_block):
    """Everything is read again for it, in seconds or in hours; then an hour passes before it is read once more."""
    clock, real = [10_000.0], chain.deposits
    monkeypatch.setattr(
        "services.ledger.chain_follower.time", SimpleNamespace(time=lambda: clock[0], monotonic=lambda: clock[0])
    )
    monkeypatch.setattr("services.ledger.chain_follower.BLOCKS", 1)
    follower, escrow = follower_on(database, chain), chain.contracts.escrow

    async def next_block() -> tuple[bool, int | None]:
        """Whether it is read from the beginning now, and as of when everything is known."""
        chain.mine()
        await follower.step()
        return database.read_now(lambda c: (store.followed(c, escrow) is None, store.read_time(c, escrow)))

    def slow(*blocks):
        clock[0] += a_block
        return real(*blocks)

    happens(chain, Claimed, B, 1, 30, 40)
    for _ in range(20):
        chain.mine()
    await everything(follower)
    assert await next_block() == (True, 10_000)
    monkeypatch.setattr(chain, "deposits", slow)
    for _ in chain.blocks:
        await follower.step()
    assert await next_block() == (False, clock[0] - a_block)
    clock[0] += 3500 - 2 * a_block
    assert (await next_block())[0] is False
    clock[0] += 101
    assert await next_block() == (True, clock[0] - a_block)


@pytest.mark.parametrize("again", (0, 2))
async def test_what_went_while_the_chain_is_read_again_from_the_beginning_is_taken_back(database, chain, again):
    """As after a change of version that forgets the place: up to an early block all is read again by then, or none."""
    for number in range(1, 4):
        happens(chain, SplitHolds, REVISION, Split(number, 0), number)
    happens(chain, Deposit, A, 100, 100)
    happens(chain, Deposit, A, 10, 110)
    await everything(follower_on(database, chain))
    escrow = chain.contracts.escrow

    def forget(connection):
        store.forget_place(connection, escrow)
        splits.forget_after(connection, again)
        connection.execute(delete(EVENT).where(EVENT.c.account == REVISION, EVENT.c.block > again))
        if again:
            store.follow(connection, escrow, again, chain.blocks[again].hash)

    database.write_now(forget)
    chain.undo(1)
    chain.events["deposits"].pop()
    for _ in range(3):
        chain.mine()
    await catch_up(follower_on(database, chain))
    assert balance(database, journal.payer(A)) == 100
    assert [row[0] for row in splits_of(database)] == [1, 2, 3]


NEVER = ("0x" + "0" * 64, "0x" + "f" * 64)
"""Hashes of blocks that this chain never had: before and after any other in their order."""


@pytest.mark.parametrize("lost", NEVER)
@pytest.mark.parametrize("block", (1, 3, 5))
async def test_a_place_that_the_chain_never_had_is_left_though_later_blocks_stand(database, chain, lost, block):
    """As one may be noted, while everything is read again, by a node that then turns out to be alone with it."""
    for number in range(1, 6):
        happens(chain, Deposit, A, 10, 10 * number)
    await everything(follower_on(database, chain))
    escrow = chain.contracts.escrow
    database.write_now(lambda c: store.follow(c, escrow, block, lost))
    happens(chain, SplitHolds, REVISION, Split(1, 0), 1)
    await catch_up(follower_on(database, chain))
    assert database.read_now(lambda c: store.followed(c, escrow)) == (6, chain.blocks[-1].hash)
    assert (balance(database, journal.payer(A)), splits_of(database)) == (50, [(1, 1)])


@pytest.mark.parametrize("lost", NEVER)
async def test_what_was_journaled_of_a_block_beside_the_one_that_is_followed_is_taken_back(database, chain, lost):
    happens(chain, Deposit, A, 100, 100)
    happens(chain, Deposit, A, 10, 110)
    await everything(follower_on(database, chain))
    database.write_now(lambda c: c.execute(update(EVENT).where(EVENT.c.block == 2).values(block_hash=lost)))
    await catch_up(follower_on(database, chain))
    assert database.read_now(events.newest_place) == (2, chain.blocks[2].hash)
    assert balance(database, journal.payer(A)) == 110
