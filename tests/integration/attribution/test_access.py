"""Attribution over real gRPC: who sees which receipts."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from openledger import receipt as receipts
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.client import ApiError, Client, Wallet
from services.kit.testing import as_service
from tests.attribution_world import (
    PAYER,
    STRANGER,
    attribution,
    get,
    read,
    refusal,
    revised,
)


async def test_a_receipt_is_for_those_whom_it_concerns(around):
    around.peers.add(around.artifacts.trace(1), around.artifacts.trace(2, fee=0, platform_fee=0))
    async with attribution(around) as (where, _):
        mine = await get(around, PAYER, where, "r1", wait=20)
        shares = receipts.parse(mine.document).shares
        assert await get(around, PAYER, where, "r2", wait=20)
        async with as_service("ledger", attribution=where) as ledger:
            name = pb.GetReceiptRequest(name="receipts/r1")
            assert (await ledger.call(ledger.attribution.GetReceipt, name)) == mine
        error = await refusal(around, STRANGER, where, "r1")
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "RECEIPT_NOT_FOUND")
        async with as_service("datanet", attribution=where) as other:
            with pytest.raises(ApiError, match="NOT_FOR_THIS_CALLER"):
                await other.call(other.attribution.GetReceipt, name)
        async with Client(ledger.endpoints) as nobody:
            with pytest.raises(ApiError, match="SIGN_IN"):
                await nobody.call(nobody.attribution.GetReceipt, name)
    assert set(around.artifacts.adapter.contributors) & shares.keys()


async def test_a_payee_sees_the_receipt_that_pays_it(around):
    """Contributors, developer and platform are whoever the documents name: here wallets that can sign in."""
    owner = Wallet.create()
    around.peers.add(around.artifacts.trace(1, adapter=revised(around.artifacts, owner=owner.address)))
    async with attribution(around) as (where, _):
        assert (await get(around, owner, where, "r1", wait=20)).response == "responses/r1"


async def test_a_receipt_for_an_unknown_trace_is_not_found_and_says_what_to_do(around):
    async with attribution(around) as (where, _):
        error = await refusal(around, PAYER, where, "nothing")
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "RECEIPT_NOT_FOUND")
        assert "wait_seconds" in error.message
        assert (await refusal(around, PAYER, where, "a/b")).reason == "INVALID_FIELD"
        started = asyncio.get_running_loop().time()
        with pytest.raises(ApiError, match="RECEIPT_NOT_FOUND"):
            await get(around, PAYER, where, "nothing", wait=0.5)
        assert asyncio.get_running_loop().time() - started >= 0.5


async def test_a_payer_lists_what_it_paid_for_in_pages(around):
    other = Wallet.create()
    around.peers.add(*(around.artifacts.trace(n, payer=(other if n == 3 else PAYER).account) for n in range(1, 6)))
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        await read(ledger, 5)
        async with around.client(PAYER, where) as client:
            request = pb.ListReceiptsRequest(page_size=3)
            first = await client.call(client.attribution.ListReceipts, request)
            request.page_token = first.next_page_token
            second = await client.call(client.attribution.ListReceipts, request)
            with pytest.raises(ApiError, match="BAD_PAGE_TOKEN"):
                await client.call(client.attribution.ListReceipts, pb.ListReceiptsRequest(page_token="next"))
    assert [r.response for r in first.receipts] == ["responses/r5", "responses/r4", "responses/r2"]
    assert [r.response for r in second.receipts] == ["responses/r1"]
    assert second.next_page_token == ""


async def test_dead_letters_and_the_stream_are_not_for_everybody(around):
    async with attribution(around) as (where, _), around.client(PAYER, where) as payer:
        with pytest.raises(ApiError, match="OPERATORS_ONLY"):
            await payer.call(payer.attribution.ListDeadLetters, pb.ListDeadLettersRequest())
        with pytest.raises(ApiError, match="NOT_FOR_THIS_CALLER"):
            await payer.call(payer.attribution.ReadReceipts, pb.ReadReceiptsRequest())
