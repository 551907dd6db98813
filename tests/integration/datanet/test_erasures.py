"""Records that are taken back: what is left of them, and what goes on as before."""

from __future__ import annotations

from openledger import merkle, records
from openledger.artifacts import ArtifactStore
from openledger.client import Client
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.tables import CONTENT, DECLARATION, FIRST, KEY
from services.kit.testing import endpoints
from tests.datanet_records import ACCEPTED, ERASED, WITHDRAWN, get, given, included, table
from tests.datanet_world import (
    ADA,
    BOB,
    DATANET,
    OWNER,
    begin_erasing,
    begin_snapshot,
    cut,
    erase,
    give,
    give_badly,
    listed,
    new_id,
    read,
    refused,
    send,
    upload,
    withdraw,
)

TEXT = "the quick brown fox jumps over the lazy dog and sleeps in the warm sun"
LIKE = TEXT.replace("lazy", "idle")


async def test_a_withdrawn_record_is_in_no_later_snapshot_and_all_else_stays(here):
    one, two, _ = await given(here, "one", "two", "three")
    async with here.as_(OWNER) as owner, here.as_(ADA) as ada, here.as_(BOB) as bob:
        first = await cut(owner)
        same = new_id()
        told = await withdraw(ada, two, "I changed my mind", same)
        assert (told.state, told.message, dict(told.fields)) == (WITHDRAWN, "", {})
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
        assert (seen.state, seen.message, dict(seen.fields)) == (WITHDRAWN, "I changed my mind", {"text": "two"})
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
