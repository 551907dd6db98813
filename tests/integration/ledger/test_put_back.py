"""A ledger that is put back from a copy, on a chain that went on meanwhile: what its books say then."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import delete, select

from openledger.client import ApiError, Wallet
from services.kit.database import Database
from services.ledger.store.tables import METADATA
from tests.copies import Copies
from tests.ledger_and_chain import Agreement
from tests.ledger_world import (
    EARNERS,
    OPEN,
    OPERATOR,
    a_receipt,
    anchor,
    balance,
    booked,
    claim,
    close_epoch,
    eventually,
    lease,
    pay_in,
    until,
)

FEE = OPEN // 20
CONSUMER = METADATA.tables["consumer"]


@pytest.fixture
def copies(world, database_url) -> Copies:
    world.more["database_url"] = database_url
    return Copies(world.folder / "copy", database_url)


async def answer(world, where, payer, held, count: int = 3) -> list:
    receipts = [a_receipt(payer, held.name, FEE) for _ in range(count)]
    world.attribution.give(*receipts)
    await booked(where, payer, receipts)
    return receipts


async def test_what_the_chain_and_attribution_have_comes_back_once(world, copies, payer, database_url):
    late = Wallet.create()
    async with world.run() as where:
        await pay_in(world, where, payer, 10 * OPEN)
        held = await lease(where, payer, OPEN)
        await answer(world, where, payer, held)
        await close_epoch(where)
        copies.make()
        again = await answer(world, where, payer, held)
        await pay_in(world, where, late, 5 * OPEN)
        lost = await answer(world, where, late, await lease(where, late, OPEN), 2)
        await claim(where, EARNERS[0])
        await anchor(where, "datanets/terms/snapshots/1")
        before = await balance(where, payer)
    sent = world.chain().nonce(OPERATOR.address)
    copies.put_back()
    async with world.run() as where:
        assert len(await booked(where, payer, again)) == 3
        assert await balance(where, payer) == before, "charged once, and nothing less"
        await until(where, late, lambda b: b.deposited == str(5 * OPEN))
        with pytest.raises(ApiError, match="was not booked, nobody was charged: there is no leases/"):
            await booked(where, late, lost)
        await anchor(where, "datanets/terms/snapshots/1")
        assert world.chain().nonce(OPERATOR.address) == sent, "it is on chain, and is not sent again"
        await pay_in(world, where, late, OPEN)
        await answer(world, where, late, await lease(where, late, OPEN), 1)
        second = await close_epoch(where)
        assert (second.name, second.receipt_count) == ("epochs/2", 4)
    with closing(Database(database_url)) as database:
        agreement = Agreement(database, world.chain(), OPERATOR.address, {payer.address: 6 * FEE, late.address: FEE})
        agreement.everything()
        database.write_now(lambda c: c.execute(delete(CONSUMER)))  # as docs/operating.md says, to read all again
        async with world.run():
            await eventually(lambda: read_of(database) == len(world.attribution.documents))
        agreement.everything()


def read_of(database: Database) -> int:
    return database.read_now(lambda c: c.execute(select(CONSUMER.c.number)).scalar()) or 0
