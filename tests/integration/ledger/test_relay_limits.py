"""The relayer's ether cannot be drained by dust, nor by asking again and again."""

from __future__ import annotations

import grpc
import pytest

from openledger.client import ApiError
from services.kit.testing import as_wallet
from tests.ledger_world import (
    DEVELOPER,
    OPEN,
    OPERATOR,
    a_receipt,
    booked,
    claim,
    close_epoch,
    lease,
    pay_in,
    permit,
    refused,
)


async def test_a_small_deposit_is_the_payers_own_to_send(world, payer):
    world.more |= {"relay_min_deposit": OPEN}
    async with world.run() as where:
        small = await permit(world, where, payer, OPEN - 1)
        async with as_wallet(payer, ledger=where) as client:
            found = await refused(client, client.ledger.RelayDeposit, small)
            assert (found.reason, found.metadata["at_least"]) == ("TOO_SMALL_TO_RELAY", str(OPEN))
            enough = await permit(world, where, payer, OPEN)
            assert (await client.call(client.ledger.RelayDeposit, enough)).credited


async def test_an_account_has_so_much_gas_a_day_and_no_more(world, payer):
    world.more |= {"relay_gas_per_day": 2 * 140_000}
    async with world.run() as where:
        async with as_wallet(payer, ledger=where) as client:
            requests = [await permit(world, where, payer, OPEN)]
            await client.call(client.ledger.RelayDeposit, requests[0])
            requests.append(await permit(world, where, payer, OPEN))
            await client.call(client.ledger.RelayDeposit, requests[1])
            third = await permit(world, where, payer, OPEN)
            found = await refused(client, client.ledger.RelayDeposit, third)
            assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RELAY_BUDGET_SPENT")
            assert found.retry_after
            for request in requests:  # what was asked before is answered as before
                assert (await client.call(client.ledger.RelayDeposit, request)).credited
        async with as_wallet(OPERATOR, ledger=where) as other:  # everybody has their own
            assert (await other.call(other.ledger.RelayDeposit, await permit(world, where, OPERATOR, OPEN))).credited


async def test_a_small_claim_waits_until_there_is_more(world, payer):
    world.more |= {"relay_min_claim": OPEN}
    async with world.run() as where:
        await pay_in(world, where, payer, OPEN)
        held = await lease(where, payer, OPEN)
        receipt = a_receipt(payer, held.name, OPEN // 2)
        world.attribution.give(receipt)
        await booked(where, payer, [receipt])
        await close_epoch(where)
        with pytest.raises(ApiError, match="TOO_SMALL_TO_RELAY"):
            await claim(where, DEVELOPER)
