"""The ledger on a full disk: it says so, loses nothing, and goes on by itself when there is room again."""

from __future__ import annotations

import asyncio
import uuid

import grpc

from openledger.client import ApiError, request_id
from openledger.ledger.v1 import ledger_pb2
from services.kit.testing import as_service, as_wallet
from tests.ledger_world import (
    EARNERS,
    OPEN,
    OPERATOR,
    a_receipt,
    balance,
    booked,
    claim,
    close_epoch,
    conservation,
    lease,
    pay_in,
)

FEE = OPEN // 1000


async def refused_lease(where, payer) -> tuple[ledger_pb2.AcquireLeaseRequest, ApiError, int]:
    """The first request for which there is no room, what was said, and how many leases were given before it."""
    async with as_service("openlora", ledger=where) as client:
        for given in range(500):
            request = ledger_pb2.AcquireLeaseRequest(account=payer.account, amount=str(FEE), request_id=request_id())
            try:
                await client.call(client.ledger.AcquireLease, request)
            except ApiError as error:
                return request, error, given
    raise AssertionError("the disk was not full")


async def test_money_does_not_move_while_the_disk_is_full_and_none_is_lost(disk, world, payer):
    async with world.run() as where:
        await pay_in(world, where, payer, OPEN)
        held = await lease(where, payer, 40 * FEE)
        first, *later = (a_receipt(payer, held.name, FEE) for _ in range(40))
        world.attribution.give(first)
        await booked(where, payer, [first])
        disk.fill("database")
        request, error, given = await refused_lease(where, payer)
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL")
        assert error.retry_after == 30
        world.attribution.give(*later)
        full = await conservation(where)
        assert int(full.fees) < 40 * FEE
        assert (full.difference, full.trial_balance) == ("0", "0")
        disk.free()
        async with as_service("openlora", ledger=where) as client:
            again = await client.call(client.ledger.AcquireLease, request)
            assert await client.call(client.ledger.AcquireLease, request) == again
        await booked(where, payer, [first, *later])
        has, sums = await balance(where, payer), await conservation(where)
    assert (has.spent, has.deposited, has.leased) == (str(40 * FEE), str(OPEN - 40 * FEE), str((given + 1) * FEE))
    assert (sums.fees, sums.difference, sums.trial_balance) == (str(40 * FEE), "0", "0")


async def test_an_epoch_waits_for_room_to_publish_what_its_root_stands_for(disk, world, payer):
    async with world.run() as where:
        await pay_in(world, where, payer, OPEN)
        held = await lease(where, payer, FEE)
        answer = a_receipt(payer, held.name, FEE)
        world.attribution.give(answer)
        await booked(where, payer, [answer])
        disk.fill("artifacts")
        request = str(uuid.uuid4())
        async with as_wallet(OPERATOR, ledger=where) as operator:
            closing = ledger_pb2.CloseEpochRequest(request_id=request)
            await operator.call(operator.ledger.CloseEpoch, closing)
            async with asyncio.timeout(20):
                while not world.chain().funded():
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            state = (await operator.call(operator.ledger.GetEpoch, ledger_pb2.GetEpochRequest(name="epochs/1"))).state
        assert state == ledger_pb2.EPOCH_STATE_SEALED
        disk.free()
        epoch = await close_epoch(where, request_id=request)
        await claim(where, EARNERS[0])
    assert epoch.state == ledger_pb2.EPOCH_STATE_ACTIVE
    assert world.chain().last_epoch() == 1
    assert world.chain().total_claimed() == world.chain().claimed(EARNERS[0].address) > 0
