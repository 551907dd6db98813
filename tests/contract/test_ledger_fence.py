"""Whoever lost the pen finds out in the transaction that would have written, and writes nothing; on both databases."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import select

from services.kit.metrics import Metrics
from services.kit.testing import as_service
from services.ledger.admit import Terms
from services.ledger.consume import SOURCE, Receipts, read_none
from services.ledger.debts import Debts
from services.ledger.retention import Retention
from services.ledger.settler import Settler
from services.ledger.split_book import SplitBook
from services.ledger.store import chain, epochs, receipts_read, settlements
from services.ledger.store.sender import LostPen
from services.ledger.store.tables import JOURNAL, METADATA, RECEIPTS_READ, REJECTED
from tests.epoch_tampering import answered
from tests.epoch_world import AT, PAYER, Ledger
from tests.intake_world import HOW
from tests.ledger_world import PLATFORM, SIGNER, Attribution, a_receipt, attribution_served


@pytest.fixture
def ledger(database_url, tmp_path):
    found = Ledger(tmp_path, database_url)
    yield found
    found.database.close()


def rows(ledger, table) -> int:
    return len(ledger.database.read_now(lambda c: c.execute(select(table)).all()))


async def test_receipts_are_taken_in_by_who_has_the_pen(ledger):
    attribution, metrics = Attribution(), Metrics("ledger")
    attribution.give(found := a_receipt(PAYER, "leases/1", 10**18))
    terms = Terms(frozenset({SIGNER.address}), found.rule, PLATFORM.address)
    async with attribution_served(attribution) as where, as_service("ledger", attribution=where) as client:
        rest = ledger.database, client, terms, metrics
        ledger.write(lambda c: (chain.follow(c, AT, 1, "0x1"), chain.note_read_time(c, AT, int(time.time()))))
        splits = SplitBook(ledger.database, AT, found.rule, lag=3600)
        one = Receipts(*rest, ledger.pen("one"), Debts(ledger.database, metrics), splits, **HOW)
        other = ledger.pen("other")
        with pytest.raises(LostPen):
            await one.step()
        read = METADATA.tables["consumer"]
        assert (rows(ledger, read), rows(ledger, REJECTED), rows(ledger, JOURNAL)) == (0, 0, 0)
        two = Receipts(*rest[:3], Metrics("other"), other, one._debts, splits, **HOW)
        assert await two.step() == 1
        assert (rows(ledger, read), rows(ledger, REJECTED)) == (1, 1)  # there is no such lease


async def test_that_no_receipts_are_read_any_more_is_said_by_who_has_the_pen(ledger):
    """Else one that is configured without Attribution ends a break, whoever reads."""
    ledger.write(lambda c: receipts_read.begin(c, SOURCE, 1_000))
    pen, other = ledger.pen("one"), ledger.pen("other")
    with pytest.raises(LostPen):
        await read_none(ledger.database, pen)
    assert rows(ledger, RECEIPTS_READ) == 1
    work = asyncio.create_task(read_none(ledger.database, other))
    async with asyncio.timeout(30):
        while rows(ledger, RECEIPTS_READ):
            await asyncio.sleep(0.01)
    assert not work.done()
    work.cancel()


async def test_what_holds_an_epoch_up_is_said_by_who_has_the_pen(ledger):
    ledger.give(answered())
    epoch, pen, nothing = ledger.seal(), ledger.pen("one"), [None] * 2
    how = {"confirmations": 0, "most": 2**128, "room": 0, "credit": 0, "poll_seconds": 0.1}
    settler = Settler(ledger.database, None, None, pen, *nothing, Metrics("ledger"), *nothing, **how)
    await settler._trouble(epoch, "first")
    other = ledger.pen("other")
    with pytest.raises(LostPen):
        await settler._trouble(epoch, "late")
    assert ledger.database.read_now(lambda c: epochs.get(c, 1)).held_up == "first"
    other.drop()
    assert pen.take()
    await settler._trouble(epoch, "late")  # nobody was told the first time
    assert ledger.database.read_now(lambda c: epochs.get(c, 1)).held_up == "late"


async def test_a_bundle_is_noted_by_who_has_the_pen(ledger):
    ledger.give(answered())
    epoch, pen = ledger.seal(), ledger.pen("one")
    other = ledger.pen("other")
    with pytest.raises(LostPen):
        await ledger.bundles.publish(epoch, pen)
    assert ledger.database.read_now(lambda c: epochs.get(c, 1)).bundle is None
    assert await ledger.bundles.publish(epoch, other)


async def test_documents_go_by_who_has_the_pen(ledger):
    kept = Retention(ledger.database, ledger.artifacts, ledger.pen("one"), keep=1)
    for _ in range(2):
        ledger.close(answered())
    other = ledger.pen("other")
    with pytest.raises(LostPen):
        await kept.step()
    assert len(ledger.database.read_now(lambda c: list(settlements.receipts(c, 0, 10**9)))) == 2
    assert await Retention(ledger.database, ledger.artifacts, other, keep=1).step() == 1
