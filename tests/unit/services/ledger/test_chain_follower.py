from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sqlalchemy import delete

from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import journal
from services.ledger.chain import Claimed, Deposit, Redeemed, SplitHolds, Withdrawal, WrongChain
from services.ledger.chain_follower import ChainFollower
from services.ledger.pen import Pen
from services.ledger.registries import Split
from services.ledger.store import books, epochs, events, payers, splits
from services.ledger.store import chain as store
from services.ledger.store.epochs import UNDONE
from services.ledger.store.sender import LostPen
from services.ledger.store.tables import EVENT, METADATA
from tests.fake_chain import KINDS, FakeChain

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


def follower_on(database, chain, confirmations=0, *, quiet=True) -> ChainFollower:
    pen = Pen(database, A, "one", Metrics("pen"), seconds=60)
    assert pen.take()
    how = {"confirmations": confirmations, "poll_seconds": 0.01, "quiet": quiet}
    return ChainFollower(database, chain, pen, Metrics("ledger"), **how)


def happens(chain, make, *values) -> None:
    """An event in a block of its own."""
    chain.mine()
    number = chain.blocks[-1].number
    event = make(*values, number, "", f"0x{number:064x}", 0)
    name = dict(zip((Deposit, Withdrawal, Redeemed, Claimed, SplitHolds), KINDS, strict=True))[make]
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


async def catch_up(follower) -> None:
    """What is gone is taken back in one step, and what is there read in the next ones."""
    await follower.step()
    await everything(follower)


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
        events.forget_place(connection, chain.contracts.escrow)

    database.write_now(forget)
    await everything(follower)
    assert (balance(database, journal.payer(A)), balance(database, journal.SHORTFALL)) == (7, -80)
    assert len(database.read_now(lambda c: events.after(c, -1))) == 3


def spend(database, who, amount) -> None:
    entry = journal.Journal(journal.Kind.INFERENCE, "i", "p", "c", {journal.payer(who): -amount, "payable:b": amount})
    database.write_now(lambda c: (books.lock(c), books.post(c, entry), payers.lock(c, who)))
    database.write_now(lambda c: payers.set_spent(c, who, amount))


class Turning(FakeChain):
    """A chain that turns to another fork while it is read: `turn` happens when deposits are asked for."""

    def __init__(self):
        super().__init__()
        self.turn = lambda: None

    def deposits(self, from_block, to_block=None):
        turn, self.turn = self.turn, lambda: None
        turn()
        return super().deposits(from_block, to_block)


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


async def test_one_whose_turn_is_over_journals_nothing(database, chain):
    old = follower_on(database, chain)
    happens(chain, Deposit, A, 100, 100)
    newer = follower_on(database, chain)
    with pytest.raises(LostPen):
        await old.step()
    assert balance(database, journal.payer(A)) == 0
    await everything(newer)
    assert balance(database, journal.payer(A)) == 100


class Forgetful(FakeChain):
    """A chain whose node, while it is `behind`, tells no deposits of the newest blocks, and says nothing of that."""

    behind = 0

    def deposits(self, from_block, to_block=None):
        last = len(self.blocks) - 1 - self.behind
        return super().deposits(from_block, min(to_block, last))


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


REVISION = "c" * 64


def splits_of(database) -> list[tuple[int, int]]:
    found = database.read_now(lambda c: splits.of(c, REVISION))
    return [(change.split.developer_bps, change.time) for change in found]


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

    def known() -> tuple[int | None, float]:
        read = database.read_now(lambda c: store.read_time(c, chain.contracts.escrow))
        return read, follower._ago.collect()[0].samples[0].value

    for mined in (995, 2000):  # then its clock is ahead
        chain.mine()
        chain.blocks[-1] = replace(chain.blocks[-1], timestamp=mined)
        await everything(follower)
        assert known() == (min(mined, 1000), max(0, 1000 - mined))
    chain.blocks[-1] = replace(chain.blocks[-1], timestamp=1000)
    clock[0] = 5000.0
    await everything(follower)
    assert known() == (1000, 4000)
    assert await follower_on(database, chain).step() == 0
    assert database.read_now(lambda c: store.read_time(c, chain.contracts.escrow)) == 5000


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
        events.forget_place(connection, escrow)
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
