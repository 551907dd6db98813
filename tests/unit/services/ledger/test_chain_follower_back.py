"""What the chain leaves is taken back, and what stands stays."""

from __future__ import annotations

import pytest

from services.kit.database import Database
from services.ledger import journal
from services.ledger.chain import Claimed, Deposit, Redeemed, Withdrawal, WrongChain
from services.ledger.store import books, epochs, events, payers
from services.ledger.store.epochs import UNDONE
from services.ledger.store.tables import METADATA
from tests.fake_chain import FakeChain
from tests.follower_world import (
    A,
    B,
    Turning,
    balance,
    catch_up,
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


async def test_what_is_undone_before_it_counted_never_was(database, chain):
    follower = follower_on(database, chain, confirmations=1)
    happens(chain, Deposit, A, 100, 100)
    await everything(follower)
    chain.undo()
    chain.events["deposits"].clear()
    happens(chain, Deposit, B, 5, 5)
    chain.mine()
    await everything(follower)
    assert (balance(database, journal.payer(A)), balance(database, journal.payer(B))) == (0, 5)


async def test_what_is_gone_is_taken_back_and_what_stands_stays(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    happens(chain, Deposit, A, 10, 110)
    happens(chain, Claimed, B, 1, 30, 30)
    await everything(follower)
    before = database.read_now(lambda c: books.payload_of(c, f"deposit:{chain.blocks[1].hash}:0"))
    chain.undo(2)
    chain.events["deposits"].pop()
    chain.events["claims"].clear()
    happens(chain, Deposit, B, 5, 5)
    chain.mine()
    await catch_up(follower)
    assert (balance(database, journal.payer(A)), balance(database, journal.payer(B))) == (100, 5)
    assert (balance(database, journal.payable(B)), balance(database, journal.CLAIMED)) == (0, 0)
    assert database.read_now(lambda c: books.payload_of(c, f"deposit:{chain.blocks[1].hash}:0")) == before
    assert follower._voided._value.get() == 2


async def test_what_went_and_came_again_counts_once(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    await everything(follower)
    for _ in range(3):
        chain.undo()
        chain.mine()  # the same deposit, in another block of the same number
        await catch_up(follower)
        assert balance(database, journal.payer(A)) == 100
    assert balance(database, journal.ESCROW) == -100


async def test_a_chain_of_which_nothing_stands_is_read_from_the_beginning(database, chain):
    follower = follower_on(database, chain)
    for number in range(1, 4):
        happens(chain, Deposit, A, 100, 100 * number)
    await everything(follower)
    chain.undo(3)
    chain.events["deposits"].clear()
    for _ in range(2):
        chain.mine()
    happens(chain, Deposit, B, 7, 7)
    chain.mine()
    await catch_up(follower)
    assert (balance(database, journal.payer(A)), balance(database, journal.payer(B))) == (0, 7)


async def test_a_node_that_is_behind_takes_nothing_back(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    happens(chain, Deposit, A, 10, 110)
    await everything(follower)
    ahead, chain.blocks = chain.blocks, chain.blocks[:2]
    assert await follower.step() == 0
    assert balance(database, journal.payer(A)) == 110
    assert follower._node_behind._value.get() == 1
    chain.blocks = ahead
    happens(chain, Deposit, A, 1, 111)
    await everything(follower)
    assert balance(database, journal.payer(A)) == 111


@pytest.mark.parametrize("hidden", ({1}, {2}, {1, 2}))
async def test_blocks_that_only_some_of_its_nodes_have_take_nothing_back(database, chain, monkeypatch, hidden):
    """As behind a load balancer: the head is one node's, the blocks before it another's, which is behind."""
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    happens(chain, Deposit, A, 10, 110)
    await everything(follower)
    chain.mine()
    real = chain.block
    with monkeypatch.context() as patched:
        patched.setattr(chain, "block", lambda number: None if number in hidden else real(number))
        await everything(follower)
    await everything(follower)
    assert (balance(database, journal.payer(A)), follower._voided._value.get()) == (110, 0)


async def test_a_shorter_chain_with_other_blocks_takes_back_what_it_lacks(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    happens(chain, Deposit, A, 10, 110)
    chain.mine()
    await everything(follower)
    chain.undo(2)
    chain.events["deposits"].pop()
    chain.mine()
    await catch_up(follower)
    assert balance(database, journal.payer(A)) == 100


async def test_another_chains_node_takes_nothing_back(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    await everything(follower)
    chain.another = True
    with pytest.raises(WrongChain):
        await follower.step()
    assert balance(database, journal.payer(A)) == 100


async def test_money_spent_of_a_deposit_that_went_is_a_debt_that_the_next_one_pays(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    await everything(follower)
    spend(database, A, 80)
    chain.undo()
    chain.events["deposits"].clear()
    chain.mine()
    await catch_up(follower)
    assert balance(database, journal.payer(A)) == -80
    assert database.read_now(events.debts) == {A: 80}
    assert (follower.debts.told, follower.debts._open._value.get()) == (80, 80)
    happens(chain, Deposit, A, 90, 90)
    await everything(follower)
    assert (balance(database, journal.payer(A)), follower.debts.told, follower.debts._open._value.get()) == (10, 0, 0)


async def test_what_a_payer_asks_back_is_what_the_standing_chain_says(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    happens(chain, Withdrawal, A, 40, False)
    happens(chain, Withdrawal, A, 70, False)
    happens(chain, Withdrawal, A, 70, True)
    await everything(follower)
    for left, asked in ((3, 70), (2, 40), (1, 0)):
        chain.undo(len(chain.blocks) - left - 1)
        chain.drop("withdrawals")
        chain.mine()
        await catch_up(follower)
        payer = database.read_now(lambda c: payers.get(c, A))
        assert (payer.balance, payer.withdrawing) == (100, asked)


async def test_a_journaled_block_that_goes_while_later_ones_are_read_is_taken_back_next(database):
    chain = Turning()
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    await everything(follower)
    happens(chain, Deposit, A, 10, 110)

    def turn():
        chain.undo(2)
        chain.events["deposits"].clear()
        chain.mine()
        happens(chain, Deposit, B, 5, 5)

    chain.turn = turn
    assert await follower.step() == 0
    await catch_up(follower)
    assert (balance(database, journal.payer(A)), balance(database, journal.payer(B))) == (0, 5)


async def test_events_of_a_fork_that_ends_before_they_are_journaled_are_read_again(database):
    chain = Turning()
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    await everything(follower)
    happens(chain, Deposit, A, 10, 110)

    def turn():
        chain.undo()
        chain.events["deposits"].pop()
        happens(chain, Deposit, B, 5, 5)

    chain.turn = turn
    assert await follower.step() == 0
    await everything(follower)
    assert (balance(database, journal.payer(A)), balance(database, journal.payer(B))) == (100, 5)


async def test_what_was_redeemed_is_what_the_standing_chain_says(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    await everything(follower)
    spend(database, A, 80)
    happens(chain, Redeemed, A, 30, 30)
    happens(chain, Redeemed, A, 50, 80)
    await everything(follower)
    assert database.read_now(lambda c: payers.unredeemed_of(c, A)) is None
    for left, undone in ((2, 1), (1, 0)):
        chain.undo(len(chain.blocks) - left - 1)
        chain.drop("redemptions")
        chain.mine()
        await catch_up(follower)
        assert database.read_now(payers.unredeemed)
        assert [line.payer for line in database.read_now(lambda c: epochs.redemptions(c, UNDONE))] == [A]
        assert database.read_now(lambda c: events.redeemed(c, A)) == 30 * undone
