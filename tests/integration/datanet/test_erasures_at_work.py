"""Erasures at work: what cannot be done yet delays nothing else, who is told, and what the command says."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from sqlalchemy import update

from openledger import merkle
from openledger.artifacts import ArtifactStore
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import store_erasures
from services.datanet.shares import Shares
from services.datanet.tables import ERASURE, KEY
from services.datanet.vault import place
from tests.datanet_records import ACCEPTED, ERASED, get, given, included, table
from tests.datanet_world import (
    ADA,
    BOB,
    DATANET,
    OWNER,
    Factory,
    begin_erasing,
    cut,
    erase,
    give,
    listed,
    open_datanet,
    read,
    serve_factory,
    world,
)


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
    other = (await give(here, BOB, "three")).outcomes[0].record
    (file,) = (tmp_path / "datanet" / "shares").glob("*.shares")
    async with here.as_(ADA) as ada:
        gone = file.rename(tmp_path / "elsewhere")
        operation = await begin_erasing(ada, one)
        with pytest.raises(TimeoutError):
            await ada.wait("datanet", operation, pb.ErasedRecord, 1)
        (left,) = here.database.read_now(store_erasures.pending)
        assert (left.name, left.destroyed) == (one, False)
        assert here.metrics.get_sample_value("openledger_datanet_erasures_undone") == 1
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
