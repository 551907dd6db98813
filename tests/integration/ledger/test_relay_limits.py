"""The relayer's ether cannot be drained by dust, nor by asking again and again."""

from __future__ import annotations

import time

import grpc
import pytest

from openledger.client import ApiError, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from services.kit.testing import as_wallet
from tests.chains import TWO_FACED
from tests.ledger_world import (
    DAY,
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
    world.more |= {"relay_gas_per_day": 400_000}
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


async def test_a_wallet_of_two_faces_costs_no_more_than_an_accounts_gas(world, payer):
    """Whoever asks: each signature is a new transaction, which fails in its block and is paid for."""
    world.more |= {"relay_gas_per_day": 700_000}
    async with world.run() as where:
        wallet = world.contract(TWO_FACED)
        await pay_in(world, where, payer, OPEN)
        held = await lease(where, payer, OPEN)
        receipt = a_receipt(payer, held.name, OPEN // 2, developer=wallet)
        world.attribution.give(receipt)
        await booked(where, payer, [receipt])
        await close_epoch(where)
        found = await claimable(where, f"accounts/{wallet}")
        refusals = []
        for number in range(8):
            asker = Wallet.create()
            async with as_wallet(asker, ledger=where) as client:
                request = ledger_pb2.RelaySignedClaimRequest(
                    account=f"accounts/{wallet}",
                    to=asker.account,
                    cumulative=found.cumulative,
                    max_fee="0",
                    deadline=int(time.time()) + DAY,
                    signature=bytes([number]),
                    request_id=request_id(),
                )
                refusals.append((await refused(client, client.ledger.RelaySignedClaim, request)).reason)
    paid = refusals.count("CLAIM_REFUSED")
    assert refusals == ["CLAIM_REFUSED"] * paid + ["RELAY_BUDGET_SPENT"] * (8 - paid)
    assert 2 <= paid <= 6
    assert world.chain().claimed(wallet) == 0


async def claimable(where, account: str) -> ledger_pb2.Claim:
    async with as_wallet(OPERATOR, ledger=where) as client:
        return await client.call(client.ledger.GetClaim, ledger_pb2.GetClaimRequest(account=account))


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
