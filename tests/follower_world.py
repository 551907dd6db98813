"""A follower on a chain that can be changed, and what the books say of what it journaled."""

from __future__ import annotations

from services.kit.metrics import Metrics
from services.ledger import journal
from services.ledger.chain import Claimed, Deposit, Redeemed, SplitHolds, Withdrawal
from services.ledger.chain_follower import ChainFollower
from services.ledger.pen import Pen
from services.ledger.store import books, payers, splits
from tests.fake_chain import KINDS, FakeChain

A, B = "0x" + "a" * 40, "0x" + "b" * 40
REVISION = "c" * 64


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


async def catch_up(follower) -> None:
    """What is gone is taken back in one step, and what is there read in the next ones."""
    await follower.step()
    await everything(follower)


def spend(database, who, amount) -> None:
    entry = journal.Journal(journal.Kind.INFERENCE, "i", "p", "c", {journal.payer(who): -amount, "payable:b": amount})
    database.write_now(lambda c: (books.lock(c), books.post(c, entry), payers.lock(c, who)))
    database.write_now(lambda c: payers.set_spent(c, who, amount))


def splits_of(database) -> list[tuple[int, int]]:
    found = database.read_now(lambda c: splits.of(c, REVISION))
    return [(change.split.developer_bps, change.time) for change in found]


class Turning(FakeChain):
    """A chain that turns to another fork while it is read: `turn` happens when deposits are asked for."""

    def __init__(self):
        super().__init__()
        self.turn = lambda: None

    def deposits(self, from_block, to_block=None):
        turn, self.turn = self.turn, lambda: None
        turn()
        return super().deposits(from_block, to_block)


class Forgetful(FakeChain):
    """A chain whose node, while it is `behind`, tells no deposits of the newest blocks, and says nothing of that."""

    behind = 0

    def deposits(self, from_block, to_block=None):
        last = len(self.blocks) - 1 - self.behind
        return super().deposits(from_block, min(to_block, last))
