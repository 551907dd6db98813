from __future__ import annotations

import pytest

from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import journal
from services.ledger.chain import Claimed, Deposit, Withdrawal
from services.ledger.chain_follower import ChainFollower, Reorganised
from services.ledger.store import books, payers
from services.ledger.store.tables import METADATA
from tests.fake_chain import FakeChain

A, B = "0x" + "a" * 40, "0x" + "b" * 40


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.write_now(METADATA.create_all)
    yield database
    database.close()


@pytest.fixture
def chain():
    return FakeChain()


def follower_on(database, chain, confirmations=0) -> ChainFollower:
    return ChainFollower(database, chain, Metrics("ledger"), confirmations=confirmations, poll_seconds=0.01)


def happens(chain, make, *values) -> None:
    """An event in a block of its own."""
    chain.mine()
    number = chain.blocks[-1].number
    event = make(*values, number, "", f"0x{number:064x}", 0)
    name = {Deposit: "deposits", Withdrawal: "withdrawals", Claimed: "claims"}[make]
    chain.events[name].append(event)


def balance(database, name) -> int:
    return database.read_now(lambda c: books.book(c, name)).balance


async def everything(follower) -> None:
    while await follower.step():
        pass


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


async def test_a_journaled_block_that_is_gone_stops_everything(database, chain):
    follower = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    await everything(follower)
    chain.undo()
    chain.mine()
    with pytest.raises(Reorganised, match="restore"):
        await follower.step()


class Turning(FakeChain):
    """A chain that turns to another fork while it is read: `turn` happens when deposits are asked for."""

    def __init__(self):
        super().__init__()
        self.turn = lambda: None

    def deposits(self, from_block, to_block=None):
        turn, self.turn = self.turn, lambda: None
        turn()
        return super().deposits(from_block, to_block)


async def test_a_journaled_block_that_goes_while_later_ones_are_read_stops_everything(database):
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
    with pytest.raises(Reorganised):
        await follower.step()
    assert balance(database, journal.payer(B)) == 0


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
    spent = journal.Journal(journal.Kind.INFERENCE, "i", "p", "c", {journal.payer(A): -80, journal.payable(B): 80})
    database.write_now(lambda c: (books.lock(c), books.post(c, spent)))
    happens(chain, Withdrawal, A, 100, True)
    await everything(follower_on(database, chain))
    assert (balance(database, journal.payer(A)), balance(database, journal.SHORTFALL)) == (0, -80)


async def test_blocks_without_events_are_read_once(database, chain):
    for _ in range(5):
        chain.mine()
    follower = follower_on(database, chain)
    assert await follower.step() == 5
    assert await follower.step() == 0
