"""What a settler believes of a node."""

from __future__ import annotations

import pytest

from services.kit.metrics import Metrics
from services.ledger.chain import Block, Epoch, Strike, WrongChain
from services.ledger.pen import Pen
from services.ledger.settler import Settler
from services.ledger.store import epochs
from services.ledger.store.epochs import State
from tests.epoch_world import PAYER, Ledger, Somewhere
from tests.ledger_world import a_receipt


class Elsewhere(Somewhere):
    """A node that tells of another chain: of the epoch's root what the test says, and that it was struck out."""

    def __init__(self, root: bytes = b"") -> None:
        self.root = root

    def check(self):
        raise WrongChain("the node serves chain 5")

    def epoch(self, number):
        return Epoch(number, self.root, b"", 0, 1, 1) if self.root else None

    def active_epoch(self):
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
