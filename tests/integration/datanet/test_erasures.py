"""Records that are taken back: what is left of them, who is told, and what goes on as before."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from sqlalchemy import select, update

from openledger import merkle, records
from openledger.artifacts import ArtifactStore
from openledger.client import Client
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import store_erasures
from services.datanet.shares import Shares
from services.datanet.tables import CONTENT, DECLARATION, ERASURE, FIRST, KEY
from services.datanet.vault import place
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


async def test_a_record_that_is_lost_is_said_to_be_and_keeps_nothing_from_others(here, tmp_path):
    _, two, three = await given(here, "one", "two", "three")
    lose(here, tmp_path, two)
    async with here.as_(OWNER) as owner, here.as_(ADA) as ada:
        rows = await listed(here, ADA)
        assert [(row.state, row.reason, dict(row.fields)) for row in rows] == [
            (ACCEPTED, "", {"text": "one"}), (ACCEPTED, "CONTENT_LOST", {}), (ACCEPTED, "", {"text": "three"})
        ]  # fmt: skip
        assert [row.reason for row in await listed(here, BOB)] == [""] * 3, "who may not read it is told nothing"
        request = pb.SearchRecordsRequest(parent=DATANET, query="t")
        assert [row.name for row in (await ada.call(ada.datanet.SearchRecords, request)).records] == [three]
        snapshot = await cut(owner)
        assert ArtifactStore(tmp_path / "artifacts").is_whole(snapshot.manifest)
        (rows,) = await read(owner)
        assert [bool(row.salt) for row in rows] == [True, False, True]
        proof = await included(ada, two)
        assert merkle.verify_inclusion(proof.commitment, proof.leaf, 3, proof.path, snapshot.root)
        assert (await erase(ada, two)).record == two
        again = await get(ada, two)
        assert (again.state, again.reason) == (ERASED, "")
        assert (await give(here, BOB, "two")).accepted == 1


def lose(here, folder, name):
    key = name.rpartition("/")[2]
    wrapped = next(row.wrapped for row in table(here, KEY) if row.record == key)
    Shares(folder / "datanet" / "shares").destroy(place(wrapped))


async def test_one_that_cannot_be_destroyed_is_known_and_delays_no_other(here, tmp_path):
    one, two = await given(here, "one", "two")
    (file,) = (tmp_path / "datanet" / "shares").glob("*.shares")
    async with here.as_(ADA) as ada:
        gone = file.rename(tmp_path / "elsewhere")
        operation = await begin_erasing(ada, one)
        with pytest.raises(TimeoutError):
            await ada.wait("datanet", operation, pb.ErasedRecord, 1)
        (left,) = here.database.read_now(store_erasures.pending)
        assert (left.name, left.destroyed) == (one, False)
        assert here.metrics.get_sample_value("openledger_datanet_erasures_undone") == 1
        other = (await give(here, BOB, "three")).outcomes[0].record
        of_before = update(KEY).where(KEY.c.record == other.rpartition("/")[2]).values(wrapped=b"w" * 60)
        here.database.write_now(lambda c: c.execute(of_before))  # its share would be in the same file
        async with here.as_(BOB) as bob:
            await erase(bob, other)
        gone.rename(file)
        assert (await ada.wait("datanet", operation, pb.ErasedRecord, 20)).record == one
        assert here.metrics.get_sample_value("openledger_datanet_erasures_undone") == 0
        assert dict((await get(ada, two)).fields) == {"text": "two"}


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


async def test_a_slow_factory_delays_no_destruction(ledger, ledger_at, tmp_path):
    factory = Factory(slow=asyncio.Event())
    async with (
        serve_factory(factory, ledger, tmp_path / "factory") as factory_at,
        world(tmp_path, ledger, ledger_at, factory=factory_at) as here,
        here.as_(OWNER) as owner,
        here.as_(ADA) as ada,
    ):
        await open_datanet(owner)
        made = await given(here, *(f"text {n}" for n in range(12)))
        operations = [await begin_erasing(ada, made[0])]
        await erasing_phase(ada, here.where, operations[0].name, "telling")
        for name in made[1:]:
            operations.append(await begin_erasing(ada, name))
            await erasing_phase(ada, here.where, operations[-1].name, "telling")
        assert factory.told == []
        factory.slow.set()
        for operation in operations:
            await ada.wait("datanet", operation, pb.ErasedRecord, 20)
    assert sorted(request.record for request in factory.told) == sorted(made)


async def test_why_it_was_erased_is_kept_and_told_to_nobody(here):
    one, two = await given(here, "one", "two")
    async with here.as_(OWNER) as owner, here.as_(ADA) as ada:
        await erase(owner, one, "a court's order")
        await erase(ada, two)
        for client in (owner, ada):
            assert "court" not in str(await get(client, one))
    assert sorted(row.reason for row in table(here, ERASURE)) == ["", "a court's order"]


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
    again = json.loads(await command("erase", two, one, "--yes", "--json", by=ADA))
    assert [told["state"] for told in again["records"]] == ["erased", "erased"]
    by_another = json.loads(await command("erase", two, "--reason", "x", "--yes", "--json", by=OWNER))
    assert by_another["records"] == [{"record": two, "adapter_revisions": [], "state": "erased"}]
    assert "RECORD_ERASED" in await command("withdraw", one, "--yes", by=ADA, status=1)

    file = tmp_path / "proof"
    await command("prove", two, "--out", file, by=ADA)
    assert "an erased record's commitment is leaf 1" in await verify("record", file)
    out = json.loads(await command("export", "terms", tmp_path / "out", "--json"))
    assert (out["texts"], out["erased"]) == (0, 3)
    assert "holds it" in await verify("snapshot", tmp_path / "out" / "snapshot")


async def test_a_command_that_waited_long_enough_says_how_to_go_on(command, here, tmp_path, monkeypatch):
    monkeypatch.setattr("openledger.cli.datanet.erasing._WAIT", 0.3)
    one, two = await given(here, "one", "two")
    (file,) = (tmp_path / "datanet" / "shares").glob("*.shares")
    gone = file.rename(tmp_path / "elsewhere")
    told = json.loads(await command("erase", one, "--yes", "--json", by=ADA, status=1))
    assert "run the command again to wait for its end" in told["records"][0]["error"]
    gone.rename(file)
    monkeypatch.setattr("openledger.cli.datanet.erasing._WAIT", 20)
    told = json.loads(await command("erase", one, two, "--yes", "--json", by=ADA))
    assert [row["state"] for row in told["records"]] == ["erased", "erased"]
