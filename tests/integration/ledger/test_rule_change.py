"""A ledger that is started again with another rule: what was answered before is paid, and settled by its own rule."""

from __future__ import annotations

from openledger.ledger.v1 import ledger_pb2
from openledger.split import Rule
from services.kit.testing import as_wallet
from tests.ledger_world import OPEN, a_receipt, booked, close_epoch, conservation, info, lease, pay_in

OLD, NEW = Rule(), Rule(cap_bps=1_000)


async def test_receipts_on_their_way_are_booked_when_the_rule_changes(world, payer):
    async with world.run() as where:
        await pay_in(world, where, payer, 10 * OPEN)
        held = await lease(where, payer, OPEN)
    receipts = [a_receipt(payer, held.name, OPEN // 7, rule=rule) for rule in (OLD, OLD, NEW)]
    world.attribution.give(*receipts[:2])
    world.more["cap_bps"] = NEW.cap_bps
    async with world.run() as where:
        async with as_wallet(payer, ledger=where) as client:
            assert (await info(client)).rule.sha256 == NEW.digest()
        world.attribution.give(receipts[2])
        payouts = await booked(where, payer, receipts)
        epoch = await close_epoch(where)
        sums = await conservation(where)
    assert [dict(p.shares) for p in payouts] == [{k: str(v) for k, v in r.shares.items()} for r in receipts]
    assert epoch.state == ledger_pb2.EPOCH_STATE_ACTIVE
    assert (epoch.receipt_count, sums.difference) == (3, "0")
