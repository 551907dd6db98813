"""Events are journaled in order and once, whatever the node says of them and when."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from services.kit.database import Database
from services.ledger import journal
from services.ledger.chain import Claimed, Deposit, Withdrawal
from services.ledger.store import chain as store
from services.ledger.store import events, payers
from services.ledger.store.sender import LostPen
from services.ledger.store.tables import METADATA
from tests.fake_chain import FakeChain
from tests.follower_world import (
    A,
    B,
    Forgetful,
    balance,
    everything,
    follower_on,
    happens,
    spend,
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


async def test_events_are_journaled_in_order_and_once(database, chain):
    happens(chain, Deposit, A, 100, 100)
    happens(chain, Claimed, B, 1, 30, 30)
    happens(chain, Deposit, A, 2**100, 2**100 + 100)
    await everything(follower_on(database, chain))
    await everything(follower_on(database, chain))
    assert balance(database, journal.payer(A)) == 2**100 + 100
    assert balance(database, journal.ESCROW) == -(2**100) - 100
    assert (balance(database, journal.payable(B)), balance(database, journal.CLAIMED)) == (-30, 30)


async def test_blocks_count_when_they_are_deep_enough(database, chain):
    follower = follower_on(database, chain, confirmations=2)
    happens(chain, Deposit, A, 100, 100)
    await everything(follower)
    assert balance(database, journal.payer(A)) == 0
    chain.mine()
    chain.mine()
    await everything(follower)
    assert balance(database, journal.payer(A)) == 100


async def test_a_database_of_before_is_read_again_and_nothing_is_journaled_twice(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    await everything(follower)
    spend(database, A, 80)
    happens(chain, Withdrawal, A, 100, True)
    await everything(follower)
    happens(chain, Deposit, A, 7, 7)
    await everything(follower)

    def forget(connection):
        events.forget_after(connection, -1)
        store.forget_place(connection, chain.contracts.escrow)

    database.write_now(forget)
    await everything(follower)
    assert (balance(database, journal.payer(A)), balance(database, journal.SHORTFALL)) == (7, -80)
    assert len(database.read_now(lambda c: events.after(c, -1))) == 3


async def test_money_that_is_asked_back_is_set_aside_and_leaves_when_it_is_paid(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    happens(chain, Withdrawal, A, 70, False)
    await everything(follower)
    assert database.read_now(lambda c: payers.get(c, A)).withdrawing == 70
    happens(chain, Withdrawal, A, 70, True)
    await everything(follower)
    payer = database.read_now(lambda c: payers.get(c, A))
    assert (payer.balance, payer.withdrawing) == (30, 0)
    assert balance(database, journal.ESCROW) == -30


async def test_a_payer_never_stands_below_zero_whatever_the_chain_paid_out(database, chain):
    happens(chain, Deposit, A, 100, 100)
    await everything(follower_on(database, chain))
    spend(database, A, 80)
    happens(chain, Withdrawal, A, 100, True)
    await everything(follower_on(database, chain))
    assert (balance(database, journal.payer(A)), balance(database, journal.SHORTFALL)) == (0, -80)


async def test_blocks_without_events_are_read_once(database, chain):
    for _ in range(5):
        chain.mine()
    follower = follower_on(database, chain)
    assert await follower.step() == 5
    assert await follower.step() == 0


async def test_a_chain_whose_time_is_ahead_of_ours_is_shown(database, chain):
    follower = follower_on(database, chain)
    await follower.step()
    assert follower._ahead._value.get() == 0
    chain.blocks.append(replace(chain.blocks[-1], number=1, timestamp=int(time.time()) + 3600))
    await follower.step()
    assert 3590 < follower._ahead._value.get() <= 3600


async def test_one_whose_turn_is_over_journals_nothing(database, chain):
    old = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    newer = follower_on(database, chain)
    with pytest.raises(LostPen):
        await old.step()
    assert balance(database, journal.payer(A)) == 0
    await everything(newer)
    assert balance(database, journal.payer(A)) == 100


async def test_events_that_a_node_did_not_have_yet_are_read_with_the_next_blocks(database):
    chain = Forgetful()
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    happens(chain, Withdrawal, A, 30, False)
    happens(chain, Deposit, A, 10, 110)
    chain.behind = 1
    await everything(follower)
    assert (balance(database, journal.payer(A)), follower._unfit._value.get()) == (100, 0)
    chain.behind = 0
    chain.mine()
    await everything(follower)
    assert balance(database, journal.payer(A)) == 110
    for _ in range(200):
        chain.mine()
    await everything(follower)
    assert (balance(database, journal.payer(A)), follower._voided._value.get()) == (110, 0)


async def test_what_was_never_told_is_found_by_what_the_next_event_says_of_the_sum(database):
    chain = Forgetful()
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    for _ in range(150):
        chain.mine()
    chain.behind = 151
    await everything(follower)
    chain.behind = 0
    assert balance(database, journal.payer(A)) == 0
    happens(chain, Deposit, A, 10, 110)
    await everything(follower)
    assert (balance(database, journal.payer(A)), follower._unfit._value.get()) == (10, 1)
    for _ in range(2):
        chain.mine()
        await everything(follower)
    assert (balance(database, journal.payer(A)), follower._unfit._value.get()) == (110, 0)


async def test_a_sum_that_never_fits_is_shown_and_does_not_stop_anything(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Claimed, B, 1, 30, 40)
    for _ in range(5):
        await everything(follower)
        happens(chain, Deposit, A, 1, 1 + balance(database, journal.payer(A)))
    await everything(follower)
    assert (balance(database, journal.payer(A)), balance(database, journal.payable(B))) == (5, -30)
    assert follower._unfit._value.get() == 1
