"""What a settler believes of a node, and what becomes of roots that are struck out."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from services.kit.errors import Fault
from services.kit.metrics import Metrics
from services.ledger.bundle import NOT_READ
from services.ledger.chain import Block, Epoch, Strike, WrongChain
from services.ledger.chain_follower import ChainFollower
from services.ledger.checks import UNREAD
from services.ledger.pen import Pen
from services.ledger.settler import Settler
from services.ledger.store import chain as store
from services.ledger.store import epochs
from services.ledger.store.epochs import State
from tests.epoch_world import AT, PAYER, Ledger, Somewhere
from tests.follower_world import everything
from tests.ledger_world import a_receipt
from tests.settling_world import CONFIRMATIONS, WINDOW, Settling


class Elsewhere(Somewhere):
    """A node that tells of another chain: of the epoch's root what the test says, and that it was struck out."""

    def __init__(self, root: bytes = b"") -> None:
        self.root = root

    def check(self):
        raise WrongChain("the node serves chain 5")

    def epoch(self, number):
        return Epoch(number, self.root, b"", 0, 1, 1) if self.root else None

    def active_epoch(self, block=None):
        return 1

    def head(self):
        return Block(9, "0x", "0x", 0)

    def strikes(self, first, last):
        return [Strike(1, 1, 5)]


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.give(a_receipt(PAYER, "leases/1", 10**18))
    yield ledger
    ledger.database.close()


@pytest.mark.parametrize("struck", (True, False))
async def test_no_epoch_is_struck_out_or_active_by_another_chains_word(ledger, struck):
    epoch = ledger.seal()
    epoch = ledger.write(lambda c: epochs.advance(c, epoch, State.PROPOSED))
    pen = Pen(ledger.database, PAYER.address, "one", Metrics("pen"), seconds=60)
    assert pen.take()
    chain, nothing = Elsewhere(b"" if struck else bytes.fromhex(epoch.root)), [None] * 2
    how = {"confirmations": 0, "most": 2**128, "room": 0, "credit": 0, "poll_seconds": 0.1}
    settler = Settler(ledger.database, chain, None, pen, *nothing, Metrics("ledger"), *nothing, **how)
    with pytest.raises(WrongChain):
        await settler._activate(epoch)
    assert ledger.database.read_now(lambda c: epochs.get(c, 1)).state is State.PROPOSED


# --- roots that are struck out late


@pytest.fixture
def settling(tmp_path):
    found = Settling(tmp_path)
    yield found
    found.close_database()


@pytest.mark.parametrize("trouble", (None, UNREAD))
async def test_no_root_goes_out_before_the_books_were_read_or_while_they_cannot_be(settling, trouble):
    await settling.answered()
    settling.right.trouble = trouble
    await settling.step(CONFIRMATIONS + 2)
    assert (settling.states(), settling.chain.roots) == (["1.1 SEALED"], {})
    assert settling.epoch(1).held_up == (trouble or "")
    settling.right.trouble = ""
    await settling.step(CONFIRMATIONS + 2)
    assert settling.states() == ["1.1 PROPOSED"]


async def test_no_epoch_is_closed_while_the_books_cannot_be_read(settling):
    settling.right.trouble = UNREAD
    with pytest.raises(Fault, match="cannot be read") as refused:
        await settling.answered()
    assert (refused.value.reason, settling.states()) == ("BOOKS_WRONG", [])


async def test_a_root_pays_once_a_block_that_counts_says_so(settling):
    await settling.answered()
    await settling.step(CONFIRMATIONS + 2)
    assert (settling.states(), settling.chain.active_epoch()) == (["1.1 PROPOSED"], 1)
    _, proposed = settling.chain.roots[1]
    while settling.chain.head().number < proposed + WINDOW + CONFIRMATIONS:
        await settling.step()
        assert settling.states() == ["1.1 PROPOSED"]
    await settling.step()
    assert settling.states() == ["1.1 ACTIVE"]


async def test_a_strike_in_the_windows_last_block_that_comes_late_is_found(settling):
    """By the clock the window is over; the block with the veto is not here yet."""
    first = await settling.answered()
    await settling.step(CONFIRMATIONS + 2)
    assert (settling.states(), settling.chain.active_epoch()) == (["1.1 PROPOSED"], 1)
    await settling.step(2, mine=False)
    settling.chain.strike(1)
    await settling.step(CONFIRMATIONS + 2)
    assert settling.states() == ["1.1 VETOED"]
    again = await settling.answered()
    assert (again.key, again.total > first.total) == ("1.2", True)
    await settling.step(10)
    assert settling.states() == ["1.2 ACTIVE"]
    assert settling.verified() == [True]


async def test_a_root_that_paid_and_was_struck_out_all_the_same_is_sealed_again(settling):
    """Blocks went, deeper than anything was to go; in those that came the guardian has vetoed it."""
    await settling.answered()
    await settling.step(10)
    assert settling.states() == ["1.1 ACTIVE"]
    settling.chain.strike(1)
    await settling.step()
    assert settling.states() == ["1.1 ACTIVE"]  # the strike does not count yet
    await settling.step(CONFIRMATIONS)
    assert settling.states() == ["1.1 VETOED"]
    await settling.answered()
    await settling.step(10)
    assert settling.states() == ["1.2 ACTIVE"]
    assert settling.verified() == [True]


async def test_what_was_sealed_on_a_root_that_was_struck_out_waits_until_it_is_sealed_as_it_was(settling):
    first = await settling.answered()
    await settling.step(10)
    second = await settling.answered()
    settling.chain.reverting = True  # so that it does not get on before the strike is seen
    settling.chain.strike(1)
    await settling.step(CONFIRMATIONS + 3)
    assert settling.states() == ["1.1 VETOED", "2.1 SEALED"]
    settling.chain.reverting = False
    await settling.step(3)
    assert settling.states() == ["1.1 VETOED", "2.1 SEALED"]
    assert "epochs/1, on which this one is built, was struck out" in settling.epoch(2).held_up
    settling.ledger.give(a_receipt(PAYER, "leases/1", 10**18))  # is not mixed into what was sealed before it came
    again = await settling.close()
    assert (again.key, again.root, again.receipt_count) == ("1.2", first.root, 1)
    with pytest.raises(Fault, match="not active yet"):
        await settling.close()
    await settling.step(20)
    assert settling.states() == ["1.2 ACTIVE", "2.1 ACTIVE"]
    assert (settling.epoch(2).root, settling.epoch(2).held_up) == (second.root, "")
    third = await settling.close()
    assert (third.key, third.receipt_count) == ("3.1", 1)
    await settling.step(10)
    assert settling.states() == ["1.2 ACTIVE", "2.1 ACTIVE", "3.1 ACTIVE"]
    assert settling.verified() == [True] * 3


async def test_two_roots_that_paid_and_were_struck_out_are_sealed_again_in_their_order(settling):
    first = await settling.answered()
    await settling.step(10)
    second = await settling.answered()
    await settling.step(10)
    assert settling.states() == ["1.1 ACTIVE", "2.1 ACTIVE"]
    settling.chain.strike(1)
    await settling.step(CONFIRMATIONS + 1)
    assert settling.states() == ["1.1 VETOED", "2.1 VETOED"]
    again = await settling.answered()
    assert (again.key, again.root) == ("1.2", first.root)
    await settling.step(10)
    assert settling.states() == ["1.2 ACTIVE", "2.1 VETOED"]
    last = await settling.close()
    assert (last.key, last.receipt_count, last.total > second.total) == ("2.2", 2, True)
    await settling.step(10)
    assert settling.states() == ["1.2 ACTIVE", "2.2 ACTIVE"]
    assert settling.verified() == [True] * 2


async def test_an_epoch_says_that_it_waits_until_the_chain_is_read(settling):
    settling.ledger.read_chain(None)
    await settling.answered()
    await settling.step(2)
    assert (settling.states(), settling.settler._held_up._value.get()) == (["1.1 SEALED"], 1)
    assert settling.epoch(1).held_up == NOT_READ
    settling.ledger.read_chain(time.time())
    await settling.step(10)
    assert (settling.states(), settling.settler._held_up._value.get()) == (["1.1 ACTIVE"], 0)
    assert settling.epoch(1).held_up == ""


async def test_a_root_that_is_back_is_said_though_the_chain_was_not_read_lately(settling):
    settling.ledger.read_chain(None)
    await settling.answered()
    settling.chain.roots[1] = b"x" * 32, 0
    settling.chain.guardian = lambda: PAYER.address
    await settling.step()
    assert "the guardian must veto it" in settling.epoch(1).held_up


async def test_what_was_published_goes_out_though_the_chain_was_not_read_lately(settling):
    await settling.answered()
    settling.chain.reverting = True
    await settling.step()
    assert settling.epoch(1).bundle
    settling.ledger.read_chain(None)
    settling.chain.reverting = False
    await settling.step(10)
    assert settling.states() == ["1.1 ACTIVE"]


@pytest.mark.parametrize("quiet", (True, False))
async def test_where_blocks_come_only_when_something_is_sent_none_is_waited_for_if_that_is_said(settling, quiet):
    """The root's own transaction may be all that the next block has."""
    settling.database.write_now(lambda c: store.forget_place(c, AT))
    how = {"confirmations": CONFIRMATIONS, "poll_seconds": 0.001, "quiet": quiet}
    follower = ChainFollower(settling.database, settling.chain, settling.writer._pen, Metrics("ledger"), **how)
    for _ in range(1 + CONFIRMATIONS):
        settling.chain.mine()
    await settling.answered()

    async def stands_still() -> bool:
        """Whether there is no root on chain after a while in which nobody else sends anything."""
        for _ in range(3):
            await everything(follower)
            await settling.step(mine=False)
        return not settling.chain.roots

    assert await stands_still() is not quiet
    assert settling.epoch(1).held_up == ("" if quiet else NOT_READ)
    for _ in range(1 + CONFIRMATIONS):
        settling.chain.mine()
        settling.chain.blocks[-1] = replace(settling.chain.blocks[-1], timestamp=int(time.time()))
    assert not await stands_still()


async def test_a_node_that_lacks_a_root_that_pays_undoes_nothing(settling):
    await settling.answered()
    await settling.step(10)
    settling.chain.lacks = True
    await settling.step(CONFIRMATIONS + 3)
    assert settling.states() == ["1.1 ACTIVE"]
