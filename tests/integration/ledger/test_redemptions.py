"""What payers spent is theirs to keep only as long as it takes to take it: no epoch has to be closed for that."""

from __future__ import annotations

import asyncio
import time

import pytest

from openledger.abi import encode_call
from openledger.ledger.v1 import ledger_pb2
from services.kit.testing import as_wallet
from services.ledger.chain import Call
from tests.ledger_world import OPEN, a_receipt, authorisation, booked, eventually, lease, permit, refused


async def pay_in_until(world, where, payer, seconds: int) -> None:
    """A deposit, and an authorisation over it that ends so soon."""
    async with as_wallet(payer, ledger=where) as client:
        await client.call(client.ledger.RelayDeposit, await permit(world, where, payer, OPEN))
        allowed = await authorisation(where, payer, OPEN, deadline=int(time.time()) + seconds)
        await client.call(client.ledger.AuthoriseSpending, allowed)


@pytest.mark.long
async def test_spending_is_redeemed_before_its_authorisation_ends_and_none_is_booked_after(world, payer):
    world.more |= {"lease_seconds": 3, "lease_grace_seconds": 0, "redeem_seconds": 3600}
    async with world.run() as where:
        await pay_in_until(world, where, payer, 3600 + 8)
        held = await lease(where, payer, OPEN)
        first, late = (a_receipt(payer, held.name, OPEN // 4) for _ in range(2))
        world.attribution.give(first)
        await booked(where, payer, [first])
        chain = world.chain()
        assert chain.spent(payer.address) == 0
        await eventually(lambda: chain.spent(payer.address) == OPEN // 4)
        world.attribution.give(late)
        async with as_wallet(payer, ledger=where) as client:
            request = ledger_pb2.GetPayoutRequest(response=late.response, wait_seconds=2)
            found = await refused(client, client.ledger.GetPayout, request)
        assert (found.reason, found.metadata["why"]) == ("RECEIPT_REJECTED", "AUTHORISATION_ENDED")


async def test_who_asks_back_what_is_spent_is_redeemed_first_and_who_leaves_it_is_not(world, payer):
    world.more |= {"withdraw_delay_seconds": 3600}
    async with world.run() as where:
        await pay_in_until(world, where, payer, 86_400)
        held = await lease(where, payer, OPEN // 2)
        receipt = a_receipt(payer, held.name, OPEN // 4)
        world.attribution.give(receipt)
        await booked(where, payer, [receipt])
        chain = world.chain()

        def ask_back(amount: int) -> None:
            call = Call(chain.contracts.escrow, encode_call("InferenceEscrow", "initiateWithdraw", amount))
            world.send(payer, call)

        ask_back(3 * OPEN // 4)  # all that is unspent
        await asyncio.sleep(1)
        assert chain.spent(payer.address) == 0
        ask_back(3 * OPEN // 4 + 1)
        await eventually(lambda: chain.spent(payer.address) == OPEN // 4)
