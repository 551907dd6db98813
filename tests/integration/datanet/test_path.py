"""The Datanet over real gRPC: from records to a proof, and who sees what."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from openledger import merkle, records
from openledger.client import Client
from openledger.datanet.v1 import datanet_pb2 as pb
from services.kit.testing import as_service, endpoints
from tests.datanet_world import (
    ADA,
    BOB,
    DATANET,
    LICENCE,
    OWNER,
    SNAPSHOT,
    cut,
    give,
    listed,
    new_id,
    open_datanet,
    read,
    refused,
    send,
    upload,
    world,
)

ACCEPTED, REJECTED = pb.RECORD_STATE_ACCEPTED, pb.RECORD_STATE_REJECTED


async def test_records_become_a_snapshot_whose_root_anyone_can_recompute(here, ledger):
    texts = [f"text {i}" for i in range(100)]
    answer = await give(here, ADA, *texts[:70])
    assert (answer.accepted, answer.rejected) == (70, 0)
    assert [o.index for o in answer.outcomes] == list(range(70))
    await give(here, BOB, *texts[70:])
    async with here.as_(OWNER) as owner:
        snapshot = await cut(owner)
        batches = await read(owner)
        datanet = await owner.call(owner.datanet.GetDatanet, pb.GetDatanetRequest(name=DATANET))
    assert (datanet.record_count, datanet.contributor_count, datanet.owner) == (100, 2, OWNER.account)
    assert [len(batch) for batch in batches] == [64, 36]
    rows = [row for batch in batches for row in batch]
    assert [row.leaf for row in rows] == list(range(100))
    assert [row.fields["text"] for row in rows] == texts
    assert [row.contributor for row in rows] == [ADA.account] * 70 + [BOB.account] * 30
    opened = [
        records.commitment(r.salt, records.canonical_bytes(r.contributor.removeprefix("accounts/"), r.fields, r.source))
        for r in rows
    ]
    assert opened == [row.commitment for row in rows], "which is all that stays of a record that is erased"
    assert records.snapshot_root(opened) == snapshot.root == ledger.seen[0].root
    assert (snapshot.name, snapshot.record_count, snapshot.contributor_count) == (SNAPSHOT, 100, 2)
    assert (snapshot.licence, snapshot.anchor.chain_id, snapshot.anchor.block) == (LICENCE, 31337, 9)
    assert ledger.seen[0].record_count == 100


async def test_a_snapshot_is_read_on_from_where_a_stream_broke(here):
    await give(here, ADA, *(f"text {i}" for i in range(100)))
    async with here.as_(OWNER) as owner:
        await cut(owner)
        whole = [row for batch in await read(owner) for row in batch]
        assert [row for batch in await read(owner, 63) for row in batch] == whole[63:]
        assert await read(owner, 100) == []
        assert await read(owner, 2**60) == []


async def test_the_factory_reads_snapshots_and_other_strangers_do_not(here):
    await give(here, ADA, "one")
    async with here.as_(OWNER) as owner:
        await cut(owner)
    async with as_service("factory", datanet=here.where) as factory:
        assert [len(batch) for batch in await read(factory)] == [1]
    for stranger, reason in (
        (here.as_(ADA), "NOT_YOURS"),
        (as_service("openlora", datanet=here.where), "NOT_FOR_THIS_CALLER"),
        (Client(endpoints(datanet=here.where)), "SIGN_IN"),
    ):
        async with stranger as client:
            assert (await refused(read(client))).reason == reason


async def test_contributor_and_owner_can_prove_a_record_and_others_cannot(here):
    await give(here, ADA, "one", "two", "three")
    async with here.as_(OWNER) as owner:
        snapshot = await cut(owner)
    await give(here, ADA, "four")
    mine = await listed(here, ADA)
    request = pb.GetInclusionProofRequest(snapshot=SNAPSHOT, record=mine[1].name)
    for wallet in (ADA, OWNER):
        async with here.as_(wallet) as client:
            proof = await client.call(client.datanet.GetInclusionProof, request)
        assert proof.root == snapshot.root
        assert merkle.verify_inclusion(proof.commitment, proof.leaf, proof.size, proof.path, proof.root)
        body = records.canonical_bytes(ADA.address, {"text": "two"})
        assert records.commitment(proof.salt, body) == proof.commitment == mine[1].commitment
    async with here.as_(BOB) as client:
        assert (await refused(client.call(client.datanet.GetInclusionProof, request))).reason == "NOT_YOURS"
    async with here.as_(ADA) as client:
        late = pb.GetInclusionProofRequest(snapshot=SNAPSHOT, record=mine[3].name)
        found = await refused(client.call(client.datanet.GetInclusionProof, late))
        assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "RECORD_NOT_IN_SNAPSHOT")


async def test_texts_are_shown_to_contributor_and_owner_alone(here):
    name = (await give(here, ADA, "a secret")).outcomes[0].record
    request = pb.GetRecordRequest(name=name)
    seen = {}
    for who, client in (
        ("ada", here.as_(ADA)),
        ("owner", here.as_(OWNER)),
        ("bob", here.as_(BOB)),
        ("anyone", Client(endpoints(datanet=here.where))),
    ):
        async with client:
            record = await client.call(client.datanet.GetRecord, request)
            rows = (await client.call(client.datanet.ListRecords, pb.ListRecordsRequest(parent=DATANET))).records
        assert list(rows) == [record]
        assert (record.contributor, record.state, record.licence) == (ADA.account, ACCEPTED, LICENCE)
        assert len(record.commitment) == 32
        seen[who] = dict(record.fields)
    assert seen == {"ada": {"text": "a secret"}, "owner": {"text": "a secret"}, "bob": {}, "anyone": {}}


async def test_lists_go_page_by_page(here):
    await give(here, ADA, *(f"text {i}" for i in range(5)))
    await give(here, BOB, "bob's")
    async with here.as_(ADA) as client:
        found, token = [], ""
        while True:
            request = pb.ListRecordsRequest(parent=DATANET, page_size=2, page_token=token, contributor=ADA.account)
            page = await client.call(client.datanet.ListRecords, request)
            found += [record.fields["text"] for record in page.records]
            token = page.next_page_token
            if not token:
                break
        assert found == [f"text {i}" for i in range(5)]
        first = await client.call(client.datanet.ListRecords, pb.ListRecordsRequest(parent=DATANET, page_size=2))
        other = pb.ListRecordsRequest(
            parent=DATANET, page_size=2, page_token=first.next_page_token, contributor=BOB.account
        )
        assert (await refused(client.call(client.datanet.ListRecords, other))).reason == "BAD_PAGE_TOKEN"


async def test_pages_of_large_records_fit_into_a_message(ledger, ledger_at, tmp_path):
    async with world(tmp_path, ledger, ledger_at, max_record_bytes=2**20) as here, here.as_(OWNER) as owner:
        await open_datanet(owner)
        texts = [str(i) + "x" * 900_000 for i in range(7)]
        assert (await send(owner, upload(OWNER, texts))).accepted == 7
        page = await owner.call(owner.datanet.ListRecords, pb.ListRecordsRequest(parent=DATANET, page_size=1000))
        assert 0 < len(page.records) < 7
        assert page.next_page_token
        await cut(owner)
        assert [row.fields["text"] for batch in await read(owner) for row in batch] == texts


async def test_snapshots_and_datanets_are_open_to_anyone(here):
    await give(here, ADA, "one")
    async with here.as_(OWNER) as owner:
        first = await cut(owner)
        await open_datanet(owner, "words")
        await give(here, ADA, "two")
        second = await cut(owner)
    async with Client(endpoints(datanet=here.where)) as anyone:
        assert await anyone.call(anyone.datanet.GetSnapshot, pb.GetSnapshotRequest(name=SNAPSHOT)) == first
        request = pb.ListSnapshotsRequest(parent=DATANET, page_size=1)
        newest = await anyone.call(anyone.datanet.ListSnapshots, request)
        request.page_token = newest.next_page_token
        rest = await anyone.call(anyone.datanet.ListSnapshots, request)
        assert [*newest.snapshots, *rest.snapshots] == [second, first]
        assert rest.next_page_token == ""
        page = await anyone.call(anyone.datanet.ListDatanets, pb.ListDatanetsRequest(page_size=1))
        request = pb.ListDatanetsRequest(page_size=1, page_token=page.next_page_token)
        assert [d.name for d in page.datanets] == ["datanets/words"]
        rest = await anyone.call(anyone.datanet.ListDatanets, request)
        assert [d.name for d in rest.datanets] == [DATANET]


async def test_a_datanet_is_described_changed_and_guarded(here):
    async with here.as_(OWNER) as owner, here.as_(BOB) as bob:
        datanet = await owner.call(owner.datanet.GetDatanet, pb.GetDatanetRequest(name=DATANET))
        assert [f.id for f in datanet.fields] == ["text"]
        datanet.display_name, datanet.description = "Clinical terms", "not masked"
        request = pb.UpdateDatanetRequest(datanet=datanet, update_mask={"paths": ["display_name"]}, request_id=new_id())
        assert (await refused(bob.call(bob.datanet.UpdateDatanet, request))).reason == "NOT_YOURS"
        changed = await owner.call(owner.datanet.UpdateDatanet, request)
        assert (changed.display_name, changed.description) == ("Clinical terms", "")
        assert await owner.call(owner.datanet.UpdateDatanet, request) == changed
        request.request_id = new_id()
        stale = await refused(owner.call(owner.datanet.UpdateDatanet, request))
        assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_a_datanet_is_created_once(here):
    async with here.as_(BOB) as bob:
        assert (await refused(open_datanet(bob))).reason == "DATANET_EXISTS"
        request = pb.CreateDatanetRequest(
            datanet=pb.Datanet(display_name="B", licence="MIT"), datanet_id="bobs", request_id=new_id()
        )
        answers = await asyncio.gather(*(bob.call(bob.datanet.CreateDatanet, request) for _ in range(4)))
        assert all(answer == answers[0] for answer in answers)
        request.datanet.display_name = "C"
        assert (await refused(bob.call(bob.datanet.CreateDatanet, request))).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("more", "reason"),
    (
        ({"licence": "CC-BY-9.9"}, "NOT_A_LICENCE"),
        ({"kind": pb.KIND_IMAGE}, "NOT_OFFERED"),
        ({"visibility": 9}, "INVALID_FIELD"),
        ({"policy": pb.Policy(reviews=1)}, "NOT_OFFERED"),
        ({"policy": pb.Policy(languages=["Deutsch"])}, "INVALID_FIELD"),
        ({"policy": pb.Policy(personal_data=9)}, "INVALID_FIELD"),
        ({"policy": pb.Policy(duplicates=pb.DUPLICATE_POLICY_CREDIT)}, "NOT_OFFERED"),
        ({"policy": pb.Policy(reward_cut_bps=1)}, "NOT_OFFERED"),
        ({"policy": pb.Policy(reward_cut_bps=2001)}, "INVALID_FIELD"),
        ({"display_name": ""}, "INVALID_FIELD"),
    ),
)
async def test_what_a_datanet_cannot_be_is_refused(here, more, reason):
    async with here.as_(BOB) as bob:
        assert (await refused(open_datanet(bob, "other", **more))).reason == reason
