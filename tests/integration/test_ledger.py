"""The ledger over real gRPC, a real chain process and the real contracts."""

from __future__ import annotations

import pytest

from openledger.claims import leaf_hash, verify
from openledger.client import Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from services.kit.testing import as_wallet
from tests import chains
from tests.ledger_world import (
    DEVELOPER,
    EARNERS,
    FUNDED,
    OPEN,
    PLATFORM,
    Attribution,
    World,
    a_receipt,
    attribution_served,
    balance,
    booked,
    close_epoch,
    conservation,
    info,
    lease,
    pay_in,
)


@pytest.fixture(scope="module")
def chain_url(tmp_path_factory):
    with chains.devchain(tmp_path_factory.mktemp("chain"), *FUNDED) as url:
        yield url


@pytest.fixture
async def world(chain_url, tmp_path):
    servicer = Attribution()
    async with attribution_served(servicer) as address:
        yield World(tmp_path, chain_url, servicer, address)


@pytest.fixture
def payer():
    return Wallet.create()


async def test_from_a_deposit_to_money_in_the_hands_of_those_who_earned_it(world, payer):
    async with world.run() as where:
        paid_in = await pay_in(world, where, payer, 10 * OPEN)
        assert (paid_in.deposited, paid_in.authorised, paid_in.spendable) == (str(10 * OPEN),) * 3

        held = await lease(where, payer, OPEN)
        receipts = [a_receipt(payer, held.name, OPEN // 7) for _ in range(3)]
        world.attribution.give(*receipts)
        payouts = await booked(where, payer, receipts)
        assert [dict(p.shares) for p in payouts] == [{k: str(v) for k, v in r.shares.items()} for r in receipts]

        fees = 3 * (OPEN // 7)
        sums = await conservation(where)
        assert (sums.fees, sums.difference, sums.trial_balance) == (str(fees), "0", "0")
        assert int(sums.paid) + int(sums.held) == fees

        epoch = await close_epoch(where)
        assert epoch.state == ledger_pb2.EPOCH_STATE_ACTIVE
        assert (epoch.receipt_count, epoch.total) == (3, sums.paid)
        await check_claims(world, where, epoch)
        after = await conservation(where)
        assert (after.fees, after.paid, after.difference, after.trial_balance) == (sums.fees, sums.paid, "0", "0")


async def check_claims(world, where, epoch):
    earners = (*EARNERS, DEVELOPER, PLATFORM)
    async with as_wallet(Wallet.create(), ledger=where) as anyone:
        at = await info(anyone)
        token, distributor = at.contracts["OpenToken"], at.contracts["RewardsDistributor"]
        paid = 0
        for earner in earners:
            claim = await anyone.call(anyone.ledger.GetClaim, ledger_pb2.GetClaimRequest(account=earner.account))
            leaf = leaf_hash(at.chain_id, distributor, earner.address, int(claim.cumulative))
            assert verify(bytes.fromhex(epoch.root[2:]), leaf, list(claim.proof))
            before = world.rpc.token_balance(token, earner.address)
            request = ledger_pb2.RelayClaimRequest(account=earner.account, request_id=request_id())
            done = await anyone.call(anyone.ledger.RelayClaim, request)
            assert done.transaction
            assert world.rpc.token_balance(token, earner.address) - before == int(claim.cumulative) == int(done.amount)
            has = await balance(where, earner)
            assert (has.earned, has.settled, has.claimed) == (claim.cumulative,) * 3
            paid += int(claim.cumulative)
        assert paid == int(epoch.total)
