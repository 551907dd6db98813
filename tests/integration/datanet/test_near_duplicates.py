"""The Datanet over real gRPC: records that read like an earlier one of somebody else's."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from sqlalchemy import delete

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import store_likeness
from services.datanet.liken import Likening
from services.datanet.tables import LIKENESS, POSTING
from tests.datanet_world import (
    ADA,
    BOB,
    OWNER,
    PRIVATE,
    erase,
    give,
    listed,
    new_id,
    open_datanet,
    refused,
    send,
    upload,
    world,
)

REFUSE = pb.Policy(duplicates=pb.DUPLICATE_POLICY_REFUSE)
TEXT = "A fracture of the left femur that came about without any fall or blow, as bones do that have lost calcium."
NEAR = TEXT.replace("left", "right")
STRICT = "datanets/strict"


@pytest.fixture
async def strict(here):
    async with here.as_(OWNER) as owner:
        made = await open_datanet(owner, "strict", policy=REFUSE)
    assert made.policy.duplicates == pb.DUPLICATE_POLICY_REFUSE
    return here


async def test_whose_record_came_first_is_told_and_the_others_of_the_upload_are_taken(strict):
    (first,) = (await give(strict, ADA, TEXT)).outcomes
    answer = await give(strict, BOB, NEAR, "a text of its own that nobody else has said before", TEXT, datanet=STRICT)
    near, own, same = answer.outcomes
    assert (answer.accepted, answer.rejected) == (1, 2)
    assert (near.state, near.reason, near.first, near.record) == (
        pb.RECORD_STATE_REJECTED, "NEAR_DUPLICATE", first.record, ""
    )  # fmt: skip
    assert near.message == (
        f"it reads like {first.record} of {names.account(ADA.address)}, which came first, and this datanet takes none"
    )
    assert own.state == pb.RECORD_STATE_ACCEPTED
    assert same.reason == "DUPLICATE"
    assert (await give(strict, BOB, NEAR)).accepted == 1, "whose owner does not ask for it takes it"


async def test_the_same_upload_again_has_the_same_answer(strict):
    await give(strict, ADA, TEXT)
    messages = upload(BOB, [NEAR, "a text of its own that nobody else has said before"], new_id(), datanet=STRICT)
    async with strict.as_(BOB) as bob:
        answer = await send(bob, messages)
        assert await send(bob, messages) == answer
    assert [outcome.reason for outcome in answer.outcomes] == ["NEAR_DUPLICATE", ""]


async def test_what_a_private_datanet_holds_is_not_found_out_by_guesses_from_outside(strict):
    async with strict.as_(OWNER) as owner:
        await open_datanet(owner, "closed", visibility=PRIVATE)
    assert (await give(strict, OWNER, TEXT, datanet="datanets/closed")).accepted == 1
    assert (await give(strict, BOB, NEAR, datanet=STRICT)).accepted == 1


async def test_within_a_private_datanet_its_records_count(strict):
    closed = "datanets/closed"
    async with strict.as_(OWNER) as owner, strict.as_(BOB) as bob:
        await open_datanet(owner, "closed", visibility=PRIVATE, policy=REFUSE)
        invited = {"parent": closed, "account": BOB.account, "role": pb.ROLE_CONTRIBUTOR}
        await owner.call(owner.datanet.InviteMember, pb.InviteMemberRequest(**invited, request_id=new_id()))
        asked = pb.RequestMembershipRequest(parent=closed, role=pb.ROLE_CONTRIBUTOR, request_id=new_id())
        await bob.call(bob.datanet.RequestMembership, asked)
    (first,) = (await give(strict, OWNER, TEXT, datanet=closed)).outcomes
    (told,) = (await give(strict, BOB, NEAR, datanet=closed)).outcomes
    assert (told.reason, told.first) == ("NEAR_DUPLICATE", first.record)


async def test_until_earlier_records_are_looked_through_nothing_is_taken_where_it_would_have_to_be_compared(
    ledger, ledger_at, tmp_path, monkeypatch
):
    go, run = asyncio.Event(), Likening.run

    async def later(self):
        await go.wait()
        await run(self)

    monkeypatch.setattr(Likening, "run", later)
    async with world(tmp_path, ledger, ledger_at) as here, here.as_(OWNER) as owner, here.as_(BOB) as bob:
        await open_datanet(owner)
        (first,) = (await give(here, ADA, TEXT)).outcomes
        here.database.write_now(lambda c: c.execute(delete(POSTING)))
        here.database.write_now(lambda c: c.execute(delete(LIKENESS)))
        await open_datanet(owner, "strict", policy=REFUSE)
        error = await refused(send(bob, upload(BOB, [NEAR], new_id(), datanet=STRICT)))
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_COMPARED_YET")
        assert here.database.read_now(store_likeness.count_missing) == 1, "nothing of it came in"
        assert (await give(here, BOB, "what is compared with nothing is taken as ever")).accepted == 1
        go.set()
        async with asyncio.timeout(20):
            while here.database.read_now(store_likeness.count_missing):
                await asyncio.sleep(0.05)
        (near,) = (await give(here, BOB, NEAR, datanet=STRICT)).outcomes
        assert (near.reason, near.first) == ("NEAR_DUPLICATE", first.record)


async def test_what_was_erased_is_free_again(strict):
    (first,) = (await give(strict, ADA, TEXT)).outcomes
    async with strict.as_(ADA) as ada:
        await erase(ada, first.record)
    assert (await give(strict, BOB, NEAR, datanet=STRICT)).accepted == 1


async def test_a_long_record_is_read_beside_the_others_and_found_as_well(ledger, ledger_at, tmp_path):
    long = " ".join(f"word{n * n % 9973}" for n in range(9_000))
    async with world(tmp_path, ledger, ledger_at) as here, here.as_(OWNER) as owner:
        await open_datanet(owner, policy=REFUSE)
        (first,) = (await give(here, ADA, long)).outcomes
        (near,) = (await give(here, BOB, long.replace("word1", "other"))).outcomes
        assert (near.reason, near.first) == ("NEAR_DUPLICATE", first.record)
        assert len(await listed(here, ADA)) == 1


async def test_crediting_is_not_offered(here):
    async with here.as_(OWNER) as owner:
        credit = pb.Policy(duplicates=pb.DUPLICATE_POLICY_CREDIT)
        error = await refused(open_datanet(owner, "credit", policy=credit))
    assert (error.reason, "policy.duplicates" in error.message) == ("NOT_OFFERED", True)
