"""Who may do what in datanets that are not open to everybody, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from openledger.client import Client, Wallet
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import store_members
from services.datanet.upload import Upload
from services.factory.source import DatanetSource
from services.kit.testing import as_service, endpoints
from tests.datanet_world import (
    ADA,
    BOB,
    BY_REQUEST,
    CLEO,
    DATANET,
    OWNER,
    PRIVATE,
    SNAPSHOT,
    World,
    cut,
    give,
    give_badly,
    listed,
    new_id,
    open_datanet,
    read,
    refused,
    upload,
    world,
)

INVITED, REQUESTED, ACTIVE = pb.MEMBERSHIP_STATE_INVITED, pb.MEMBERSHIP_STATE_REQUESTED, pb.MEMBERSHIP_STATE_ACTIVE
CONTRIBUTOR, VALIDATOR = pb.ROLE_CONTRIBUTOR, pb.ROLE_VALIDATOR


@pytest.fixture
async def closed(ledger, ledger_at, tmp_path) -> AsyncIterator[World]:
    """A service with one datanet, `terms`, that is private."""
    async with world(tmp_path, ledger, ledger_at, max_members=4, max_datanets_per_owner=2) as running:
        async with running.as_(OWNER) as owner:
            await open_datanet(owner, visibility=PRIVATE)
        yield running


def member(wallet: Wallet) -> str:
    return f"{DATANET}/members/{wallet.address}"


async def invite(here: World, wallet: Wallet, role: Any = CONTRIBUTOR, by: Wallet = OWNER) -> pb.Member:
    async with here.as_(by) as client:
        request = pb.InviteMemberRequest(parent=DATANET, account=wallet.account, role=role, request_id=new_id())
        return await client.call(client.datanet.InviteMember, request)


async def ask(here: World, wallet: Wallet, role: Any = CONTRIBUTOR, request_id: str = "") -> pb.Member:
    async with here.as_(wallet) as client:
        request = pb.RequestMembershipRequest(parent=DATANET, role=role, request_id=request_id or new_id())
        return await client.call(client.datanet.RequestMembership, request)


async def admit(here: World, wallet: Wallet, by: Wallet = OWNER) -> pb.Member:
    async with here.as_(by) as client:
        request = pb.AdmitMemberRequest(name=member(wallet), request_id=new_id())
        return await client.call(client.datanet.AdmitMember, request)


async def remove(here: World, wallet: Wallet, by: Wallet = OWNER) -> None:
    async with here.as_(by) as client:
        request = pb.RemoveMemberRequest(name=member(wallet), request_id=new_id())
        await client.call(client.datanet.RemoveMember, request)


async def members(here: World, wallet: Wallet, **more: Any) -> list[tuple[str, int, int]]:
    async with here.as_(wallet) as client:
        page = await client.call(client.datanet.ListMembers, pb.ListMembersRequest(parent=DATANET, **more))
    return [(m.account, m.role, m.state) for m in page.members]


def questions(record: str) -> dict[str, Any]:
    """Every call about a datanet that somebody who knows its name could send."""
    return {
        "GetDatanet": pb.GetDatanetRequest(name=DATANET),
        "UpdateDatanet": pb.UpdateDatanetRequest(
            datanet=pb.Datanet(name=DATANET, display_name="x", licence="MIT"),
            update_mask={"paths": ["display_name"]},
            request_id=new_id(),
        ),
        "InviteMember": pb.InviteMemberRequest(parent=DATANET, account=BOB.account, request_id=new_id()),
        "RequestMembership": pb.RequestMembershipRequest(parent=DATANET, request_id=new_id()),
        "AdmitMember": pb.AdmitMemberRequest(name=member(BOB), request_id=new_id()),
        "RemoveMember": pb.RemoveMemberRequest(name=member(BOB), request_id=new_id()),
        "ListMembers": pb.ListMembersRequest(parent=DATANET),
        "GetRecord": pb.GetRecordRequest(name=record),
        "ListRecords": pb.ListRecordsRequest(parent=DATANET),
        "SearchRecords": pb.SearchRecordsRequest(parent=DATANET, query="one"),
        "CreateSnapshot": pb.CreateSnapshotRequest(parent=DATANET, request_id=new_id()),
        "GetSnapshot": pb.GetSnapshotRequest(name=SNAPSHOT),
        "ListSnapshots": pb.ListSnapshotsRequest(parent=DATANET),
        "GetInclusionProof": pb.GetInclusionProofRequest(snapshot=SNAPSHOT, record=record),
    }


async def test_a_private_datanet_is_not_there_for_strangers_whatever_they_ask(closed):
    record = (await give(closed, OWNER, "one")).outcomes[0].record
    async with closed.as_(OWNER) as owner:
        await cut(owner)
    open_to_all = {"GetDatanet", "GetRecord", "ListRecords", "GetSnapshot", "ListSnapshots"}
    async with closed.as_(BOB) as bob, Client(endpoints(datanet=closed.where)) as anyone:
        for method, request in questions(record).items():
            found = await refused(bob.call(getattr(bob.datanet, method), request))
            assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "DATANET_NOT_FOUND"), method
            assert found.message == f"there is no {DATANET}", "the same as where there is none"
            found = await refused(anyone.call(getattr(anyone.datanet, method), request))
            assert found.reason == ("DATANET_NOT_FOUND" if method in open_to_all else "SIGN_IN"), method
        assert (await refused(read(bob))).reason == "DATANET_NOT_FOUND"
        for client in (bob, anyone):
            page = await client.call(client.datanet.ListDatanets, pb.ListDatanetsRequest())
            assert list(page.datanets) == []
        assert (await give_badly(closed, BOB, upload(BOB, ["two"]))).reason == "DATANET_NOT_FOUND"
    async with as_service("factory", datanet=closed.where) as factory:
        assert (await factory.call(factory.datanet.GetSnapshot, pb.GetSnapshotRequest(name=SNAPSHOT))).version == 1
        assert [len(batch) for batch in await read(factory)] == [1]


@pytest.mark.parametrize(("datanet", "alone"), (("terms", OWNER.address), ("open", "")))
async def test_the_factory_is_told_who_alone_may_train_on_it(closed, datanet, alone):
    async with closed.as_(OWNER) as owner:
        await open_datanet(owner, "open")
        await give(closed, OWNER, "one", datanet=f"datanets/{datanet}")
        request = pb.CreateSnapshotRequest(parent=f"datanets/{datanet}", request_id=new_id())
        operation = await owner.call(owner.datanet.CreateSnapshot, request)
        snapshot = await owner.wait("datanet", operation, pb.Snapshot, 20)
    async with as_service("factory", datanet=closed.where) as factory:
        assert (await DatanetSource(factory).describe(snapshot.name)).private_to == alone


@pytest.mark.parametrize("role", (CONTRIBUTOR, VALIDATOR))
async def test_who_is_invited_and_accepts_gives_and_rules_nothing(closed, role):
    invitation = await invite(closed, ADA, role)
    assert (invitation.name, invitation.role, invitation.state) == (member(ADA), role, INVITED)
    assert (await give_badly(closed, ADA, upload(ADA, ["one"]))).reason == "NOT_A_MEMBER"
    async with closed.as_(ADA) as ada:
        page = await ada.call(ada.datanet.ListDatanets, pb.ListDatanetsRequest(mine=True))
        assert [datanet.name for datanet in page.datanets] == [DATANET]
    assert (await ask(closed, ADA)).state == ACTIVE
    record = (await give(closed, ADA, "one")).outcomes[0].record
    async with closed.as_(OWNER) as owner:
        await cut(owner)
    allowed = {"GetDatanet", "ListMembers", "GetRecord", "ListRecords", "SearchRecords", "GetSnapshot", "ListSnapshots"}
    allowed |= {"RequestMembership", "GetInclusionProof"}
    async with closed.as_(ADA) as ada:
        for method, request in questions(record).items():
            call = ada.call(getattr(ada.datanet, method), request)
            if method in allowed:
                await call
            else:
                assert (await refused(call)).reason == "NOT_YOURS", method
        assert (await refused(read(ada))).reason == "NOT_YOURS"
    assert await members(closed, ADA) == [(ADA.account, role, ACTIVE)]


async def test_who_asks_waits_for_the_owner(here):
    async with here.as_(OWNER) as owner:
        request = pb.UpdateDatanetRequest(
            datanet=pb.Datanet(name=DATANET, display_name="Terms", licence="MIT", visibility=BY_REQUEST),
            update_mask={"paths": ["visibility"]},
            request_id=new_id(),
        )
        assert (await owner.call(owner.datanet.UpdateDatanet, request)).visibility == BY_REQUEST
    assert (await give_badly(here, ADA, upload(ADA, ["one"]))).reason == "NOT_A_MEMBER"
    assert (await give(here, OWNER, "the owner's own")).accepted == 1
    asked = await ask(here, ADA)
    assert (asked.role, asked.state) == (CONTRIBUTOR, REQUESTED)
    assert (await give_badly(here, ADA, upload(ADA, ["one"]))).reason == "NOT_A_MEMBER"
    assert (await refused(admit(here, ADA, by=ADA))).reason == "NOT_YOURS"
    assert (await admit(here, ADA)).state == ACTIVE
    assert (await give(here, ADA, "one")).accepted == 1
    assert (await refused(admit(here, BOB))).reason == "MEMBER_NOT_FOUND"
    await remove(here, ADA, by=ADA)
    assert (await give_badly(here, ADA, upload(ADA, ["two"]))).reason == "NOT_A_MEMBER"
    assert (await refused(remove(here, ADA))).reason == "MEMBER_NOT_FOUND"


async def test_who_was_sent_away_keeps_sight_of_what_it_gave(closed):
    await invite(closed, ADA)
    await ask(closed, ADA)
    await invite(closed, BOB)
    await ask(closed, BOB)
    await give(closed, ADA, "one")
    async with closed.as_(OWNER) as owner:
        await cut(owner)
    await remove(closed, ADA)
    await remove(closed, BOB)
    (mine,) = await listed(closed, ADA)
    assert mine.fields["text"] == "one"
    async with closed.as_(ADA) as ada:
        request = pb.GetInclusionProofRequest(snapshot=SNAPSHOT, record=mine.name)
        assert len((await ada.call(ada.datanet.GetInclusionProof, request)).salt) == 32
    assert (await give_badly(closed, ADA, upload(ADA, ["two"]))).reason == "NOT_A_MEMBER"
    assert (await refused(listed(closed, BOB))).reason == "DATANET_NOT_FOUND", "who gave nothing knows nothing"


async def test_a_member_who_is_sent_away_while_an_upload_comes_in_gives_nothing(closed, monkeypatch):
    await invite(closed, ADA)
    await ask(closed, ADA)
    close = Upload.close

    def close_late(self: Upload) -> None:
        assert closed.database.write_now(lambda c: store_members.remove(c, "terms", ADA.address))
        close(self)

    monkeypatch.setattr(Upload, "close", close_late)
    assert (await give_badly(closed, ADA, upload(ADA, ["one", "two"]))).reason == "DATANET_NOT_FOUND"
    assert await listed(closed, OWNER) == []


async def test_a_duplicate_of_a_private_record_does_not_tell_where_it_is(closed):
    first = (await give(closed, OWNER, "one")).outcomes[0].record
    async with closed.as_(BOB) as bob:
        await open_datanet(bob, "open")
    (outcome,) = (await give(closed, BOB, "one", datanet="datanets/open")).outcomes
    assert outcome.reason == "DUPLICATE"
    assert outcome.message == "a record not shown to you said the same earlier, and its contributor stays the author"
    (again,) = (await give(closed, OWNER, "one", datanet="datanets/open")).outcomes
    assert again.message.startswith(f"{first} said the same earlier"), "who may know it is told"


async def test_members_are_the_owners_to_list_page_by_page_and_everybody_sees_itself(closed):
    for wallet in (ADA, BOB, CLEO):
        await invite(closed, wallet)
    await ask(closed, ADA)
    async with closed.as_(OWNER) as owner:
        first = await owner.call(owner.datanet.ListMembers, pb.ListMembersRequest(parent=DATANET, page_size=2))
        token = first.next_page_token
    rest = await members(closed, OWNER, page_size=2, page_token=token)
    found = [m.account for m in first.members] + [account for account, *_ in rest]
    assert found == sorted(wallet.account for wallet in (ADA, BOB, CLEO))
    assert await members(closed, ADA) == [(ADA.account, CONTRIBUTOR, ACTIVE)]
    assert await members(closed, BOB) == [(BOB.account, CONTRIBUTOR, INVITED)]
    assert (await refused(members(closed, OWNER, page_token="nonsense"))).reason == "BAD_PAGE_TOKEN"


async def test_the_same_request_is_answered_once_and_races_leave_one_membership(closed):
    await invite(closed, ADA)
    one = new_id()
    answers = await asyncio.gather(*(ask(closed, ADA, request_id=one) for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    await asyncio.gather(*(invite(closed, BOB, role) for role in (CONTRIBUTOR, VALIDATOR) * 3))
    assert len(await members(closed, OWNER)) == 2


async def test_there_is_room_for_so_many_members_and_datanets(closed):
    for number in range(4):
        await invite(closed, Wallet("0x" + f"{number + 100:02x}" * 32))
    full = await refused(invite(closed, ADA))
    assert (full.code, full.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MEMBERS_FULL")
    async with closed.as_(OWNER) as owner:
        await open_datanet(owner, "second")
        assert (await refused(open_datanet(owner, "third"))).reason == "DATANETS_FULL"


async def test_what_names_no_account_is_refused_by_its_field(closed):
    async with closed.as_(OWNER) as owner:
        request = pb.AdmitMemberRequest(name=f"{DATANET}/members/ada", request_id=new_id())
        assert (await refused(owner.call(owner.datanet.AdmitMember, request))).reason == "INVALID_FIELD"
        request = pb.InviteMemberRequest(parent=DATANET, account="accounts/ada", request_id=new_id())
        assert (await refused(owner.call(owner.datanet.InviteMember, request))).reason == "INVALID_FIELD"
    assert (await refused(invite(closed, ADA, pb.ROLE_OWNER))).reason == "INVALID_FIELD"
    assert (await refused(invite(closed, ADA, 9))).reason == "INVALID_FIELD"


async def test_an_owner_cuts_so_many_snapshots_a_day(ledger, ledger_at, tmp_path):
    async with world(tmp_path, ledger, ledger_at, max_snapshots_a_day=2) as here, here.as_(OWNER) as owner:
        await open_datanet(owner)
        for text in ("one", "two"):
            await give(here, ADA, text)
            await cut(owner)
        await give(here, ADA, "three")
        full = await refused(cut(owner))
        assert (full.code, full.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SNAPSHOTS_FULL")
        assert 80_000 < full.retry_after <= 86_400


async def test_an_account_gives_so_many_records_and_bytes(ledger, ledger_at, tmp_path):
    async with world(tmp_path, ledger, ledger_at, max_account_records=3) as here:
        async with here.as_(OWNER) as owner:
            await open_datanet(owner)
            await open_datanet(owner, "words")
        assert (await give(here, ADA, "one", "two")).accepted == 2
        full = await give_badly(here, ADA, upload(ADA, ["three", "four"], datanet="datanets/words"))
        assert (full.code, full.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ACCOUNT_FULL")
        again = await give(here, ADA, "one", "three", datanet="datanets/words")
        assert (again.accepted, again.rejected) == (1, 1), "what is not taken does not count"
        assert (await give_badly(here, ADA, upload(ADA, ["four"]))).reason == "ACCOUNT_FULL"
        assert (await give(here, BOB, "four")).accepted == 1


@pytest.mark.parametrize("field", ("salt", "image"))
async def test_what_a_record_cannot_have_yet_is_not_dropped_without_a_word(here, field):
    messages = upload(ADA, ["one"])
    value = b"s" * 32 if field == "salt" else pb.Image(media_type="image/png")
    messages[1] = pb.ContributeRecordsRequest(record=pb.RecordInput(fields={"text": "one"}, **{field: value}))
    assert (await give_badly(here, ADA, messages)).reason == "NOT_OFFERED"


async def test_calls_that_nobody_has_built_are_open_to_nobody(here):
    async with here.as_(OWNER) as owner:
        request = pb.AppealRecordRequest(name=f"{DATANET}/records/x", comment="why?", request_id=new_id())
        assert (await refused(owner.call(owner.datanet.AppealRecord, request))).reason == "NOT_FOR_THIS_CALLER"
