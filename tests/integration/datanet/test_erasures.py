"""Records that are taken back: what is left of them, who is told, and what goes on as before."""

from __future__ import annotations

import asyncio
import json

import grpc
from sqlalchemy import select

from openledger import merkle, records
from openledger.artifacts import ArtifactStore
from openledger.client import Client
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.tables import CONTENT, DECLARATION, FIRST, KEY
from services.kit.testing import endpoints
from tests.datanet_world import (
    ADA,
    BOB,
    DATANET,
    OWNER,
    SNAPSHOT,
    Factory,
    begin_erasing,
    begin_snapshot,
    cut,
    erase,
    give,
    give_badly,
    listed,
    new_id,
    open_datanet,
    read,
    refused,
    send,
    serve_factory,
    upload,
    withdraw,
    world,
)

ACCEPTED, WITHDRAWN, ERASED = pb.RECORD_STATE_ACCEPTED, pb.RECORD_STATE_WITHDRAWN, pb.RECORD_STATE_ERASED
TEXT = "the quick brown fox jumps over the lazy dog and sleeps in the warm sun"
LIKE = TEXT.replace("lazy", "idle")


async def get(client, name):
    return await client.call(client.datanet.GetRecord, pb.GetRecordRequest(name=name))


async def included(client, name, snapshot=SNAPSHOT):
    request = pb.GetInclusionProofRequest(snapshot=snapshot, record=name)
    return await client.call(client.datanet.GetInclusionProof, request)


async def given(here, *texts, by=ADA, **more):
    return [outcome.record for outcome in (await give(here, by, *texts, **more)).outcomes]


def table(here, which):
    return here.database.read_now(lambda c: c.execute(select(which)).all())


async def test_a_withdrawn_record_is_in_no_later_snapshot_and_all_else_stays(here):
    one, two, _ = await given(here, "one", "two", "three")
    async with here.as_(OWNER) as owner, here.as_(ADA) as ada, here.as_(BOB) as bob:
        first = await cut(owner)
        same = new_id()
        told = await withdraw(ada, two, "I changed my mind", same)
        assert (told.state, told.message, dict(told.fields)) == (WITHDRAWN, "I changed my mind", {})
        assert await withdraw(ada, two, "I changed my mind", same) == told
        assert (await refused(withdraw(ada, two))).reason == "RECORD_WITHDRAWN"
        assert (await refused(withdraw(bob, one))).reason == "NOT_YOURS"
        second = await cut(owner)
        assert (first.record_count, second.record_count) == (3, 2)
        assert [row.record for batch in await read(owner) for row in batch][1] == two, "the old one is as it was"
        proof = await included(ada, two)
        assert merkle.verify_inclusion(proof.commitment, proof.leaf, 3, proof.path, first.root)
        assert (await refused(included(ada, two, second.name))).reason == "RECORD_NOT_IN_SNAPSHOT"
        seen = await get(ada, two)
        assert (seen.state, dict(seen.fields)) == (WITHDRAWN, {"text": "two"})
        assert (await get(bob, two)).message == ""
        again = await give(here, BOB, "two")
        assert again.outcomes[0].reason == "DUPLICATE", "its author stays its author"
        assert (await withdraw(owner, one, "off topic")).state == WITHDRAWN


async def test_an_erased_record_is_a_tombstone_whose_commitment_stays_in_old_trees(here):
    one, two = await given(here, "one", "two")
    async with here.as_(OWNER) as owner, here.as_(ADA) as ada:
        first = await cut(owner)
        before = await included(ada, two)
        done = await erase(ada, two)
        assert (done.record, list(done.adapter_revisions)) == (two, [])
        for client in (owner, ada):
            seen = await get(client, two)
            assert (seen.state, dict(seen.fields), seen.source) == (ERASED, {}, "")
            assert seen.commitment == before.commitment
            assert seen.HasField("state_time")
        after = await included(ada, two)
        assert after.salt == b"" != before.salt
        assert merkle.verify_inclusion(after.commitment, after.leaf, 2, after.path, first.root)
        (rows,) = await read(owner)
        assert [(row.record, bool(row.salt), dict(row.fields)) for row in rows] == [
            (one, True, {"text": "one"}), (two, False, {})
        ]  # fmt: skip
        assert records.snapshot_root([row.commitment for row in rows]) == first.root
        assert (await cut(owner)).record_count == 1
        request = pb.SearchRecordsRequest(parent=DATANET, query="two")
        assert list((await ada.call(ada.datanet.SearchRecords, request)).records) == []
        assert [record.state for record in await listed(here, ADA)] == [ACCEPTED, ERASED]
        for call in (withdraw(ada, two), begin_erasing(ada, two)):
            assert (await refused(call)).reason == "RECORD_ERASED"
        assert (await give(here, BOB, "two")).accepted == 1, "nobody knows any more that it was given"
    assert {row.record for row in table(here, CONTENT)} == {row.record for row in table(here, KEY)}


async def test_who_may_erase(here):
    one, two = await given(here, "one", "two")
    async with here.as_(OWNER) as owner, here.as_(BOB) as bob, Client(endpoints(datanet=here.where)) as anybody:
        assert (await refused(begin_erasing(bob, one, "please"))).reason == "NOT_YOURS"
        assert (await refused(begin_erasing(anybody, one))).reason == "SIGN_IN"
        assert (await refused(begin_erasing(owner, one))).reason == "REASON_MISSING"
        assert (await refused(begin_erasing(owner, f"{DATANET}/records/none", "x"))).reason == "RECORD_NOT_FOUND"
        same = new_id()
        operation = await begin_erasing(owner, one, "its subject asked", same)
        assert await begin_erasing(owner, one, "its subject asked", same) == operation
        await owner.wait("datanet", operation, pb.ErasedRecord, 20)
        assert (await get(owner, two)).state == ACCEPTED


async def test_counts_follow_and_what_depends_on_records_does_not_come_loose(here):
    (one,), (two,) = await given(here, "one"), await given(here, "two", by=BOB)

    async def counts(client):
        found = await client.call(client.datanet.GetDatanet, pb.GetDatanetRequest(name=DATANET))
        return found.record_count, found.contributor_count

    async with here.as_(OWNER) as owner, here.as_(ADA) as ada, here.as_(BOB) as bob:
        await cut(owner)
        await withdraw(ada, one)
        assert await counts(owner) == (1, 1)
        await erase(ada, one)
        assert await counts(owner) == (1, 1)
        await erase(bob, two)
        assert await counts(owner) == (0, 0)
        assert (await refused(begin_snapshot(owner))).reason == "EMPTY_SNAPSHOT"
        request = pb.UpdateDatanetRequest(
            datanet=pb.Datanet(name=DATANET, display_name="Terms", licence="MIT"), request_id=new_id()
        )
        request.update_mask.paths.append("licence")
        assert (await refused(owner.call(owner.datanet.UpdateDatanet, request))).reason == "RECORDS_DEPEND_ON_IT"
        await given(here, "three")
        assert await counts(owner) == (1, 1)


async def test_what_an_upload_left_of_an_erased_record_is_gone_and_it_is_not_taken_again(here):
    messages = upload(ADA, ["one", "two"])
    async with here.as_(ADA) as ada:
        answer = await send(ada, messages)
        assert await send(ada, messages) == answer
        await erase(ada, answer.outcomes[0].record)
    (declared,) = table(here, DECLARATION)
    assert (declared.content_root, declared.signature) == (b"", b"")
    error = await give_badly(here, ADA, messages)
    assert (error.reason, len(table(here, FIRST))) == ("REQUEST_ID_REUSED", 1)
    assert [record.state for record in await listed(here, ADA)] == [ERASED, ACCEPTED]


async def test_what_is_published_says_nothing_of_a_text_and_stays_when_it_is_erased(here, tmp_path):
    _, two = await given(here, TEXT, LIKE)
    async with here.as_(OWNER) as owner, here.as_(ADA) as ada:
        snapshot = await cut(owner)
        before = {file: file.read_bytes() for file in (tmp_path / "artifacts").rglob("*") if file.is_file()}
        await erase(ada, two)
        assert ArtifactStore(tmp_path / "artifacts").is_whole(snapshot.manifest)
    assert {file: file.read_bytes() for file in (tmp_path / "artifacts").rglob("*") if file.is_file()} == before


# --- who is told ------------------------------------------------------------------------------------------------------


async def test_those_who_trained_on_it_are_told_and_named(ledger, ledger_at, tmp_path):
    factory = Factory(away=True)
    async with (
        serve_factory(factory, ledger, tmp_path / "factory") as factory_at,
        world(tmp_path, ledger, ledger_at, factory=factory_at) as here,
        here.as_(OWNER) as owner,
        here.as_(ADA) as ada,
    ):
        await open_datanet(owner)
        one, two = await given(here, "one", "two")
        revision = "adapters/herbs/revisions/" + "5" * 64
        factory.trained[one] = [revision]
        operation = await begin_erasing(ada, one, "mine")
        await erasing_phase(ada, here.where, operation.name, "waiting for the factory: AWAY")
        assert (await get(ada, one)).state == ERASED, "gone, whoever is away"
        factory.away = False
        done = await ada.wait("datanet", operation, pb.ErasedRecord, 20)
        assert list(done.adapter_revisions) == [revision]
        assert list((await get(ada, one)).adapter_revisions) == [revision]
        assert list((await erase(owner, two, "the secret reason")).adapter_revisions) == []
    assert [(request.name, request.record) for request in factory.told] == [
        ("adapters/-/revisions/-", n) for n in (one, two)
    ]
    assert [request.reason for request in factory.told] == [
        "erased by its contributor", "erased by the datanet's owner, on a demand"
    ]  # fmt: skip


async def erasing_phase(client, where, operation, wanted):
    from google.longrunning import operations_pb2, operations_pb2_grpc

    async with grpc.aio.insecure_channel(where) as channel:
        stub = operations_pb2_grpc.OperationsStub(channel)
        progress = pb.ErasureProgress()
        for _ in range(200):
            found = await client.call(stub.GetOperation, operations_pb2.GetOperationRequest(name=operation))
            found.metadata.Unpack(progress)
            if progress.phase == wanted:
                return
            await asyncio.sleep(0.05)
    raise AssertionError(f"{operation} stays at {progress.phase!r}")


# --- the command ------------------------------------------------------------------------------------------------------


async def test_the_command_asks_before_it_withdraws_and_erases(command, here, tmp_path, verify):
    one, two, three = await given(here, "one", "two", "three")
    await command("snapshot", "terms")
    assert "Go on?" in await command("withdraw", one, status=1, by=ADA)
    assert f"{one}  withdrawn" in await command("withdraw", one, "--yes", by=ADA)
    told = json.loads(await command("erase", two, three, "--yes", "--json", by=ADA))
    assert told == {"records": [{"record": name, "adapter_revisions": [], "state": "erased"} for name in (two, three)]}
    again = json.loads(await command("erase", two, one, "--yes", "--json", by=ADA, status=1))
    assert "RECORD_ERASED" in again["records"][0]["error"]
    assert again["records"][1]["state"] == "erased"

    file = tmp_path / "proof"
    await command("prove", two, "--out", file, by=ADA)
    assert "an erased record's commitment is leaf 1" in await verify("record", file)
    out = json.loads(await command("export", "terms", tmp_path / "out", "--json"))
    assert (out["texts"], out["erased"]) == (0, 3)
    assert "holds it" in await verify("snapshot", tmp_path / "out" / "snapshot")
