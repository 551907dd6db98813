"""PostgreSQL's server dies under a ledger that works, and comes back: what was acknowledged is there, each once."""

from __future__ import annotations

import pytest

from openledger.client import ApiError
from tests import postgres
from tests.ledger_world import OPEN, a_receipt, balance, booked, close_epoch, conservation, lease, pay_in
from tests.needs import needs

FEE = OPEN // 20


@needs("postgresql")
async def test_a_ledger_goes_on_by_itself_when_its_database_is_there_again(world, payer):
    with postgres.cluster() as server, postgres.fresh_database(server) as url:
        world.more["database_url"] = url
        async with world.run() as where:
            await pay_in(world, where, payer, 10 * OPEN)
            held = await lease(where, payer, OPEN)
            before = [a_receipt(payer, held.name, FEE) for _ in range(3)]
            world.attribution.give(*before)
            await booked(where, payer, before)
            meanwhile = [a_receipt(payer, held.name, FEE) for _ in range(3)]
            with postgres.crashed(server):
                world.attribution.give(*meanwhile)
                with pytest.raises(ApiError) as caught:
                    await lease(where, payer, OPEN)
                assert caught.value.reason == "DATABASE_UNAVAILABLE"
            assert len(await booked(where, payer, [*before, *meanwhile])) == 6
            assert (await balance(where, payer)).spent == str(6 * FEE)
            assert (await lease(where, payer, OPEN)).amount == str(OPEN)
            assert (await close_epoch(where)).receipt_count == 6
            assert (await conservation(where)).difference == "0"
