"""Leaves that were sealed wrong, and two ledgers of which one has lost the pen: on both databases."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import leaves
from services.ledger.pen import Pen
from services.ledger.settler import Settler
from services.ledger.store import epochs, leaf_pages, sender
from services.ledger.store.sender import LostPen
from tests.epoch_world import PAYER, Ledger, Somewhere
from tests.ledger_world import a_receipt

SENDER = "0x" + "5" * 40


@pytest.fixture
def ledger(tmp_path, database_url):
    ledger = Ledger(tmp_path, database_url)
    yield ledger
    ledger.database.close()


class Process:
    """One of several on a database: its pen, and its settler, which gets no further than to look at leaves."""

    def __init__(self, url: str, name: str, seconds: float) -> None:
        self.database, metrics = Database(url), Metrics(name)
        self.pen = Pen(self.database, SENDER, name, metrics, seconds=seconds)
        nothing = [None] * 2
        how = {"confirmations": 0, "most": 2**128, "room": 0, "credit": 0, "poll_seconds": 0.1}
        self.settler = Settler(self.database, Somewhere(), None, self.pen, *nothing, metrics, *nothing, **how)


@pytest.fixture
def processes(ledger, tmp_path, database_url):
    found = Process(database_url, "one", 0.3), Process(database_url, "two", 60)
    yield found
    for process in found:
        process.database.close()


def spoil(ledger, epoch):
    """Somebody gives the first account a unit more."""
    rows = stored(ledger, epoch)
    spoilt = {**rows, min(rows): rows[min(rows)] + 1}

    def act(c):
        leaf_pages.drop(c, epoch.number)
        leaf_pages.add(c, epoch.number, spoilt, {}, ())

    ledger.database.write_now(act)
    return rows, spoilt


def sealed(ledger):
    ledger.give(*(a_receipt(PAYER, "leases/1", 10**18) for _ in range(3)))
    return ledger.seal()


def stored(ledger, epoch):
    return ledger.database.read_now(lambda c: leaf_pages.leaves(c, epoch.number))


async def test_who_lost_the_pen_seals_nothing_again_and_who_has_it_does(ledger, processes):
    one, two = processes
    epoch = sealed(ledger)
    right, wrong = spoil(ledger, epoch)
    assert one.pen.take()
    assert not two.pen.take()
    await asyncio.sleep(0.4)
    assert two.pen.take()
    with pytest.raises(LostPen):
        await one.settler._sound(epoch)
    assert stored(ledger, epoch) == wrong
    again = await two.settler._sound(epoch)
    assert stored(ledger, epoch) == right
    kept = ledger.database.read_now(lambda c: epochs.get(c, epoch.number))
    assert (kept.root, again.root, kept.total) == (epoch.root, epoch.root, epoch.total)


async def test_a_settler_that_thinks_long_is_not_undone(ledger, processes, monkeypatch):
    """On PostgreSQL a session that is silent in the midst of a transaction with the pen is ended after a while."""
    one, _ = processes
    epoch = sealed(ledger)
    right, _ = spoil(ledger, epoch)
    assert one.pen.take()
    monkeypatch.setattr(sender, "PAUSE_SECONDS", 0.1)
    derived = leaves.derived

    def long(*given):
        found = derived(*given)
        time.sleep(0.4)
        return found

    monkeypatch.setattr(leaves, "derived", long)
    await one.settler._sound(epoch)
    assert stored(ledger, epoch) == right
