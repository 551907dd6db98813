"""The ledger over real gRPC: who may see and do what, and that doing it twice is doing it once."""

from __future__ import annotations

import uuid

import pytest

from openledger import split
from openledger.client import ApiError, Client, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from services.kit.testing import as_service, as_wallet, endpoints
from tests.ledger_world import (
    EARNERS,
    OPEN,
    OPERATOR,
    a_receipt,
    booked,
    claim,
    close_epoch,
    lease,
    pay_in,
    refused,
)

# --- epochs and claims


async def test_an_epoch_is_closed_by_operators_and_has_something_in_it(where, client):
    request = ledger_pb2.CloseEpochRequest(request_id=request_id())
    assert (await refused(client, client.ledger.CloseEpoch, request)).reason == "NOT_AN_OPERATOR"
    async with as_wallet(OPERATOR, ledger=where) as operator:
        assert (await refused(operator, operator.ledger.CloseEpoch, request)).reason == "EMPTY_EPOCH"


async def test_closing_and_claiming_twice_changes_nothing(world, where, payer, client):
    await pay_in(world, where, payer, OPEN)
    held = await lease(where, payer, OPEN)
    world.attribution.give(one := a_receipt(payer, held.name, OPEN // 2))
    await booked(where, payer, [one])
    name = request_id()
    assert await close_epoch(where, request_id=name) == await close_epoch(where, request_id=name)
    with pytest.raises(ApiError, match="EMPTY_EPOCH"):
        await close_epoch(where)
    first = await claim(where, EARNERS[2], request_id=name)
    assert await claim(where, EARNERS[2], request_id=name) == first
    with pytest.raises(ApiError, match="NOTHING_TO_CLAIM"):
        await claim(where, EARNERS[2])
    with pytest.raises(ApiError, match="REQUEST_ID_REUSED"):
        await claim(where, EARNERS[3], request_id=name)
    with pytest.raises(ApiError, match="NO_CLAIM"):
        await claim(where, payer)
    chain = world.chain()
    assert (chain.last_epoch(), chain.claimed(EARNERS[2].address)) == (1, int(first.cumulative))
    assert chain.total_claimed() == int(first.cumulative)
    with pytest.raises(ApiError, match="NOT_YOURS"):
        await claim(where, EARNERS[3], by=payer)
    assert (await claim(where, EARNERS[3], by=EARNERS[3])).transaction


# --- who may see and do what


async def test_what_is_an_accounts_own_is_closed_to_others(world, where, payer):
    await pay_in(world, where, payer, OPEN)
    held = await lease(where, payer, OPEN)
    world.attribution.give(one := a_receipt(payer, held.name, 1000))
    await booked(where, payer, [one])
    async with as_wallet(Wallet.create(), ledger=where) as stranger:
        stub = stranger.ledger
        payout = ledger_pb2.GetPayoutRequest(response=one.response)
        assert (await refused(stranger, stub.GetPayout, payout)).reason == "PAYOUT_NOT_FOUND"
        for method, request in (
            (stub.GetBalance, ledger_pb2.GetBalanceRequest(account=payer.account)),
            (stub.ListPostings, ledger_pb2.ListPostingsRequest(account=payer.account)),
        ):
            assert (await refused(stranger, method, request)).reason == "NOT_YOURS"
        take = ledger_pb2.AcquireLeaseRequest(account=payer.account, amount="1", request_id=request_id())
        assert (await refused(stranger, stub.AcquireLease, take)).reason == "NOT_FOR_THIS_CALLER"
        anchor = ledger_pb2.AnchorSnapshotRequest(
            snapshot="datanets/d/snapshots/1", root=b"r" * 32, record_count=1, request_id=request_id()
        )
        assert (await refused(stranger, stub.AnchorSnapshot, anchor)).reason == "NOT_FOR_THIS_CALLER"
    assert await booked(where, EARNERS[4], [one])  # a payee sees it


async def test_what_epochs_gave_is_asked_for_by_name(where, client):
    request = ledger_pb2.ListEpochPayoutsRequest()
    assert (await refused(client, client.ledger.ListEpochPayouts, request)).reason == "NOTHING_NAMED"


async def test_an_account_that_is_no_address_is_named(client):
    stub, account = client.ledger, "accounts/me"
    for method, request in (
        (stub.ListEpochPayouts, ledger_pb2.ListEpochPayoutsRequest(account=account)),
        (stub.GetClaim, ledger_pb2.GetClaimRequest(account=account)),
        (stub.GetBalance, ledger_pb2.GetBalanceRequest(account=account)),
        (stub.RelayClaim, ledger_pb2.RelayClaimRequest(account=account, request_id=request_id())),
    ):
        found = await refused(client, method, request)
        assert (found.reason, "'me' is not an address" in found.message) == ("INVALID_FIELD", True)


async def test_a_page_of_postings_tells_the_story_newest_first(world, where, payer, client):
    await pay_in(world, where, payer, OPEN)
    held = await lease(where, payer, OPEN)
    world.attribution.give(one := a_receipt(payer, held.name, 1000))
    await booked(where, payer, [one])
    request = ledger_pb2.ListPostingsRequest(account=payer.account, page_size=1)
    page = await client.call(client.ledger.ListPostings, request)
    [line] = page.postings
    assert (line.kind, line.book, line.amount, line.cause) == ("inference", "payer", "-1000", one.response)
    request.page_token = page.next_page_token
    page = await client.call(client.ledger.ListPostings, request)
    assert [(p.kind, p.amount) for p in page.postings] == [("deposit", str(OPEN))]
    assert page.next_page_token == ""
    request.page_token = "1-x"
    assert (await refused(client, client.ledger.ListPostings, request)).reason == "BAD_PAGE_TOKEN"


async def test_strangers_see_what_is_public(where):
    async with Client(endpoints(ledger=where)) as anyone:
        info = await anyone.call(anyone.ledger.GetSettlementInfo, ledger_pb2.GetSettlementInfoRequest())
        assert info.rule.sha256 == split.Rule().digest()
        nothing = ledger_pb2.GetEpochRequest(name="epochs/7")
        assert (await refused(anyone, anyone.ledger.GetEpoch, nothing)).reason == "EPOCH_NOT_FOUND"
        mine = ledger_pb2.GetBalanceRequest(account=Wallet.create().account)
        assert (await refused(anyone, anyone.ledger.GetBalance, mine)).reason == "SIGN_IN"


# --- snapshots


async def test_a_snapshot_is_anchored_once(world, where):
    snapshot = f"datanets/d-{uuid.uuid4().hex[:8]}/snapshots/3"
    asked = {"snapshot": snapshot, "root": b"r" * 32, "record_count": 150}
    request = ledger_pb2.AnchorSnapshotRequest(**asked, request_id=request_id())
    async with as_service("datanet", ledger=where) as datanet:
        results = [
            await datanet.wait("ledger", await datanet.call(datanet.ledger.AnchorSnapshot, r), ledger_pb2.Anchoring)
            for r in (request, request, ledger_pb2.AnchorSnapshotRequest(**asked, request_id=request_id()))
        ]
        other = ledger_pb2.AnchorSnapshotRequest(**asked | {"root": b"s" * 32}, request_id=request_id())
        assert (await refused(datanet, datanet.ledger.AnchorSnapshot, other)).reason == "ALREADY_ANCHORED"
        for change in ({"root": b"short"}, {"record_count": 0}, {"snapshot": "datanets/d/snapshots/x"}):
            wrong = ledger_pb2.AnchorSnapshotRequest(**asked | change, request_id=request_id())
            assert (await refused(datanet, datanet.ledger.AnchorSnapshot, wrong)).reason.startswith("BAD_")
    assert results[0] == results[1] == results[2]
    assert results[0].transaction.startswith("0x")
    on_chain = world.chain().snapshot(snapshot.split("/snapshots", maxsplit=1)[0], 3)
    assert (on_chain.root, on_chain.records) == (b"r" * 32, 150)
