"""Closing an epoch, whose books are moved while its tree is computed: the same comes out, on both databases."""

from __future__ import annotations

import pytest

from services.ledger import journal
from services.ledger.settle import Decreased
from services.ledger.store import books, epochs, examine, leaf_pages, settlements
from services.ledger.store.epochs import State
from tests.epoch_world import PAYER
from tests.ledger_world import a_receipt
from tests.settling_world import Settling


@pytest.fixture
def settling(tmp_path, database_url):
    settling = Settling(tmp_path, database_url)
    yield settling
    settling.close_database()


def held(settling):
    """What the books say, by book; they are the sums of their postings."""
    assert settling.database.read_now(lambda c: list(examine.wrong(c))) == []
    return settling.database.read_now(lambda c: books.earned(c, ""))


async def test_leaves_are_what_the_books_hold_once_they_are_moved(settling):
    for number in (1, 2):
        settling.ledger.give(*(a_receipt(PAYER, "leases/1", 10**18 + n) for n in range(3)))
        epoch = await settling.close()
        leaves = settling.database.read_now(lambda c, n=number: leaf_pages.leaves(c, n))
        assert leaves == settling.database.read_now(lambda c: books.earned(c, journal.PAYABLE))
        assert (epoch.leaf_count, epoch.total, epoch.receipt_count) == (len(leaves), sum(leaves.values()), 3)
        assert {name: held(settling)[journal.payable(name)] for name in leaves} == leaves
        digest = settling.ledger.bundle(epoch)
        assert not settling.ledger.check(digest).failed, "the second implementation derives the same root"
        settling.ledger.activate(epoch)


async def test_where_no_root_may_come_of_it_nothing_was_moved(settling):
    settling.ledger.activate(await settling.answered())

    def raise_leaves(c):
        most = {who: amount * 9 for who, amount in leaf_pages.leaves(c, 1).items()}
        leaf_pages.drop(c, 1)
        leaf_pages.add(c, 1, most, {}, ())

    settling.ledger.write(raise_leaves)
    before = held(settling)
    settling.ledger.give(a_receipt(PAYER, "leases/1", 10**18))
    given, open_ = held(settling), settling.database.read_now(epochs.open_receipts)
    with pytest.raises(Decreased):
        await settling.close()
    assert held(settling) == given != before
    assert settling.database.read_now(epochs.open_receipts) == open_
    assert settling.database.read_now(lambda c: settlements.of_epoch(c, 2)) == []
    assert settling.database.read_now(lambda c: epochs.oldest(c, State.SEALED)) is None
