"""The chain beside the books."""

from __future__ import annotations

import pytest

from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import journal
from services.ledger.chain import NodeRefused, Totals
from services.ledger.reconcile import Reconciliation
from services.ledger.store import books, events, payers
from services.ledger.store import chain as store
from services.ledger.store.events import Told
from services.ledger.store.tables import METADATA
from tests.books_world import event
from tests.fake_chain import FakeChain

A = "0x" + "a" * 40
RIGHT = Totals(escrow=70, funded=30, claimed=10)


class Holding(FakeChain):
    """A chain that says what its contracts hold."""

    totals_there = RIGHT

    def totals(self, block):
        if isinstance(self.totals_there, Exception):
            raise self.totals_there
        assert block == 1
        return self.totals_there


@pytest.fixture
def database(tmp_path):
    """100 came in, 30 of it was redeemed, 10 claimed: up to block 1."""
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.write_now(METADATA.create_all)
    yield database
    database.close()


@pytest.fixture
def chain(database):
    chain = Holding()
    chain.mine()

    def act(c):
        books.lock(c)
        books.post(c, journal.deposit(event(1), A, 100))
        books.post(c, journal.claim(event(2), A, 10))
        payers.lock(c, A)
        payers.set_redeemed(c, A, 30)
        store.follow(c, chain.contracts.escrow, 1, chain.blocks[1].hash)

    database.write_now(act)
    return chain


@pytest.fixture
def reconciliation(database, chain):
    return Reconciliation(database, chain, Metrics("ledger"))


@pytest.mark.parametrize(
    ("there", "words", "off"),
    (
        (RIGHT, "", 0),
        (Totals(71, 30, 10), "", 0),  # somebody sent the escrow a token
        (Totals(70, 99, 10), "", 0),  # somebody brought the distributor some
        (Totals(69, 30, 10), "the escrow holds 1 too little", 1),
        (Totals(70, 27, 10), "the distributor was brought 3 too little", 3),
        (Totals(70, 30, 12), "2 more was claimed", 2),
        (Totals(70, 30, 5), "5 less was claimed", 5),
        (Totals(0, 30, 5), "the escrow holds 70 too little, 5 less was claimed", 70),
    ),
)
async def test_what_the_chain_lacks_is_trouble(reconciliation, chain, there, words, off):
    chain.totals_there = there
    found = await reconciliation.step()
    assert (words in found, bool(found)) == (True, bool(words))
    assert reconciliation._off._value.get() == off
    chain.totals_there = RIGHT
    assert await reconciliation.step() == ""


async def test_what_cannot_be_compared_is_what_it_was(reconciliation, database, chain):
    chain.totals_there = Totals(69, 30, 10)
    trouble = await reconciliation.step()
    assert trouble
    chain.totals_there = NodeRefused("missing trie node")
    assert await reconciliation.step() == trouble
    chain.totals_there = RIGHT
    block, chain.blocks[1] = chain.blocks[1], chain.blocks[0]  # another where that one was
    assert await reconciliation.step() == trouble
    chain.blocks[1] = block
    database.write_now(lambda c: events.keep(c, Told(2, 0, "0x2", A)))  # the books know more than that block
    assert await reconciliation.step() == trouble
    database.write_now(lambda c: events.forget_after(c, 1))
    assert await reconciliation.step() == ""
