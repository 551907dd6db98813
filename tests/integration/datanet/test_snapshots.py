"""What is published of snapshots, and what is proven about them, over real gRPC."""

from __future__ import annotations

import asyncio
import threading

from sqlalchemy import update

from openledger import merkle
from openledger.artifacts import ArtifactStore
from openledger.client import Client
from openledger.datanet.v1 import datanet_pb2 as pb
from openledger.snapshots import folder
from openledger.snapshots.documents import MANIFEST, Entry, Manifest
from services.datanet import publish
from services.datanet.tables import SNAPSHOT as TABLE
from services.kit.testing import endpoints
from tests.datanet_world import (
    ADA,
    BOB,
    DATANET,
    OWNER,
    PRIVATE,
    SNAPSHOT,
    begin_snapshot,
    cut,
    erase,
    give,
    new_id,
    open_datanet,
    read,
    refused,
    world,
)

TEXT = "the quick brown fox jumps over the lazy dog and sleeps in the warm sun"
LIKE = TEXT.replace("lazy", "idle")


async def file(client, name, snapshot=SNAPSHOT, offset=0):
    request = pb.ReadSnapshotFileRequest(snapshot=snapshot, file=name, offset=offset)
    pieces = [piece async for piece in client.stream(client.datanet.ReadSnapshotFile, request)]
    assert {piece.size for piece in pieces} == {offset + sum(len(piece.data) for piece in pieces)}
    return b"".join(piece.data for piece in pieces)


async def proof(client, snapshot, size=0):
    request = pb.GetSnapshotProofRequest(snapshot=snapshot, size=size)
    return await client.call(client.datanet.GetSnapshotProof, request)


async def grown(client, old, new):
    request = pb.GetConsistencyProofRequest(parent=DATANET, old_size=old, new_size=new)
    return await client.call(client.datanet.GetConsistencyProof, request)


async def test_a_snapshot_is_published_as_files_without_texts(here, tmp_path):
    await give(here, ADA, TEXT)
    await give(here, BOB, LIKE, "something else of a few words")
    async with here.as_(OWNER) as owner:
        snapshot = await cut(owner)
        (rows,) = await read(owner)
    assert [(row.leaf, row.licence) for row in rows] == [(leaf, "CC-BY-4.0") for leaf in range(3)]
    assert not any(row.HasField("first_leaf") for row in rows), "nobody has compared them"
    place = tmp_path / "copy"
    place.mkdir()
    async with Client(endpoints(datanet=here.where)) as anybody:
        (place / MANIFEST).write_bytes(await file(anybody, MANIFEST))
        manifest = folder.read_manifest(place)
        for name in manifest.files:
            (place / name).write_bytes(await file(anybody, name))
    _, entry = folder.check(place)
    assert snapshot.manifest == manifest.digest() == entry.manifest
    assert (manifest.parent, manifest.fields[0].id, manifest.root) == ("", "text", snapshot.root.hex())
    assert sorted(manifest.files) == ["README.md", "croissant.json", "records.parquet"]
    store = ArtifactStore(tmp_path / "artifacts")
    assert store.get(snapshot.manifest) == (place / MANIFEST).read_bytes()
    everything = b"".join(f.read_bytes() for f in store.root.rglob("*") if f.is_file())
    assert b"quick brown" not in everything
    assert all(row.salt not in everything and row.salt.hex().encode() not in everything for row in rows)


async def test_what_a_private_datanet_has_is_its_owners(here, tmp_path):
    async with here.as_(OWNER) as owner, here.as_(ADA) as ada:
        await open_datanet(owner, "hidden", visibility=PRIVATE)
        request = pb.InviteMemberRequest(
            parent="datanets/hidden", account=ADA.account, request_id="1" * 8 + "-1111-4111-8111-" + "1" * 12
        )
        await owner.call(owner.datanet.InviteMember, request)
        join = pb.RequestMembershipRequest(parent="datanets/hidden", request_id="2" * 8 + "-2222-4222-8222-" + "2" * 12)
        await ada.call(ada.datanet.RequestMembership, join)
        await give(here, ADA, "one", datanet="datanets/hidden")
        asked = pb.CreateSnapshotRequest(parent="datanets/hidden", request_id="3" * 8 + "-3333-4333-8333-" + "3" * 12)
        operation = await owner.call(owner.datanet.CreateSnapshot, asked)
        snapshot = await owner.wait("datanet", operation, pb.Snapshot, 20)
        manifest = Manifest.from_bytes(await file(owner, MANIFEST, snapshot.name))
        assert manifest.digest() == snapshot.manifest
        assert (await refused(file(ada, MANIFEST, snapshot.name))).reason == "NOT_YOURS"
        assert (await proof(ada, snapshot.name)).log_root == snapshot.log_root
    async with here.as_(BOB) as bob:
        for call in (file(bob, MANIFEST, snapshot.name), proof(bob, snapshot.name)):
            assert (await refused(call)).reason == "DATANET_NOT_FOUND"
    public = ArtifactStore(tmp_path / "artifacts")
    assert not any(public.has(digest) for digest in (snapshot.manifest, *(f.sha256 for f in manifest.files.values())))


async def become(owner, visibility):
    said = pb.Datanet(name=DATANET, display_name="Terms", licence="CC-BY-4.0", visibility=visibility)
    request = pb.UpdateDatanetRequest(datanet=said, update_mask={"paths": ["visibility"]}, request_id=new_id())
    return await owner.call(owner.datanet.UpdateDatanet, request)


async def test_what_a_datanet_published_before_it_was_closed_stays_and_nothing_follows(here, tmp_path, monkeypatch):
    inner, ready, go, loop = folder.make, asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def slow(*given):
        made = inner(*given)
        if made.number > 1:
            loop.call_soon_threadsafe(ready.set)
            assert go.wait(20)
        return made

    monkeypatch.setattr(folder, "make", slow)
    public, private = ArtifactStore(tmp_path / "artifacts"), ArtifactStore(tmp_path / "datanet" / "snapshots")
    await give(here, ADA, TEXT)
    async with here.as_(OWNER) as owner, here.as_(ADA) as ada, here.as_(BOB) as bob:
        cuts = [await cut(owner)]
        await give(here, ADA, "one more")
        operation = await begin_snapshot(owner)  # of a datanet that is still open to all
        await ready.wait()
        await become(owner, PRIVATE)
        go.set()
        cuts.append(await owner.wait("datanet", operation, pb.Snapshot, 20))
        assert [public.is_whole(one.manifest) for one in cuts] == [True, False]
        assert [private.is_whole(one.manifest) for one in cuts] == [False, True]
        for one in cuts:
            manifest = Manifest.from_bytes(await file(owner, MANIFEST, one.name))
            assert manifest.digest() == one.manifest
            for name in manifest.files:
                assert await file(owner, name, one.name)
            assert (await refused(file(ada, MANIFEST, one.name))).reason == "NOT_YOURS"
            assert (await refused(file(bob, MANIFEST, one.name))).reason == "DATANET_NOT_FOUND"


async def test_what_was_given_to_a_private_datanet_is_never_published(here, tmp_path):
    names = [outcome.record for outcome in (await give(here, ADA, "one", "two")).outcomes]
    async with here.as_(OWNER) as owner, here.as_(ADA) as ada:
        await become(owner, PRIVATE)
        await cut(owner)
        for name in names:
            await erase(ada, name)
        assert (await refused(become(owner, pb.VISIBILITY_PUBLIC))).reason == "RECORDS_DEPEND_ON_IT"
    assert not any(place.is_file() for place in (tmp_path / "artifacts").rglob("*"))


async def test_the_log_proves_that_it_only_grew(here):
    cuts = []
    async with here.as_(OWNER) as owner:
        for number in range(5):
            await give(here, ADA, f"text {number}")
            cuts.append(await cut(owner))
    async with Client(endpoints(datanet=here.where)) as anybody:
        for number, snapshot in enumerate(cuts, 1):
            for size in range(number, 6):
                found = await proof(anybody, snapshot.name, size)
                assert merkle.verify_inclusion(found.leaf, found.index, size, found.path, found.log_root)
                consistent = await grown(anybody, number, size)
                assert consistent.old_root == snapshot.log_root
                assert consistent.new_root == found.log_root == cuts[size - 1].log_root
                roots = (consistent.old_root, consistent.new_root)
                assert merkle.verify_consistency(number, size, *roots, consistent.path)
            entry = Entry.from_bytes((await proof(anybody, snapshot.name)).leaf)
            assert (entry.snapshot, entry.root, entry.manifest) == (
                snapshot.name,
                snapshot.root.hex(),
                snapshot.manifest,
            )
        assert [snapshot.parent for snapshot in cuts] == ["", *(snapshot.name for snapshot in cuts[:-1])]
        for call, reason in (
            (proof(anybody, cuts[3].name, 2), "NOT_IN_LOG"),
            (proof(anybody, cuts[3].name, 6), "LOG_IS_SHORTER"),
            (proof(anybody, f"{DATANET}/snapshots/9"), "SNAPSHOT_NOT_FOUND"),
            (proof(anybody, cuts[3].name, 2**64 - 1), "LOG_IS_SHORTER"),
            (grown(anybody, 1, 2**64 - 1), "LOG_IS_SHORTER"),
            (grown(anybody, 2**64 - 1, 2**64 - 1), "LOG_IS_SHORTER"),
            (file(anybody, MANIFEST, offset=2**64 - 1), "BAD_OFFSET"),
            (grown(anybody, 3, 2), "INVALID_FIELD"),
            (grown(anybody, 1, 6), "LOG_IS_SHORTER"),
            (grown(anybody, 0, 2), "INVALID_FIELD"),
            (file(anybody, "../datanet.db"), "SNAPSHOT_FILE_NOT_FOUND"),
            (file(anybody, MANIFEST, offset=10**9), "BAD_OFFSET"),
        ):
            assert (await refused(call)).reason == reason
        whole = await file(anybody, MANIFEST)
        assert await file(anybody, MANIFEST, offset=7) == whole[7:]
        assert await file(anybody, MANIFEST, offset=len(whole)) == b""


async def test_a_snapshot_is_published_by_whoever_starts_next(ledger, ledger_at, tmp_path, monkeypatch, database_url):
    def fails(*_):
        raise OSError("no space left")

    monkeypatch.setattr(publish, "publish", fails)
    async with world(tmp_path, ledger, ledger_at, database_url=database_url) as here, here.as_(OWNER) as owner:
        await open_datanet(owner)
        await give(here, ADA, "one")
        operation = await begin_snapshot(owner)
        unmade = await owner.call(owner.datanet.GetSnapshot, pb.GetSnapshotRequest(name=SNAPSHOT))
        assert (unmade.manifest, unmade.log_root, unmade.record_count) == ("", b"", 1)
        assert (await refused(file(owner, MANIFEST))).reason == "NOT_PUBLISHED_YET"
        assert (await refused(proof(owner, SNAPSHOT))).reason == "NOT_IN_LOG"
        await asyncio.sleep(0.3)
        assert ledger.seen == [], "nothing is anchored of which nothing is published"
    monkeypatch.undo()
    async with world(tmp_path, ledger, ledger_at, database_url=database_url) as here, here.as_(OWNER) as owner:
        snapshot = await owner.wait("datanet", operation, pb.Snapshot, 20)
        assert Manifest.from_bytes(await file(owner, MANIFEST)).digest() == snapshot.manifest


async def test_snapshots_of_before_are_published_and_logged_in_order(ledger, ledger_at, tmp_path, database_url):
    async with world(tmp_path, ledger, ledger_at, database_url=database_url) as here, here.as_(OWNER) as owner:
        await open_datanet(owner)
        for text in ("one", "two", "three"):
            await give(here, ADA, text)
            last = await cut(owner)
        bare = {"definition": None, "manifest": None, "entry": None, "log_root": None}
    async with world(tmp_path, ledger, ledger_at, database_url=database_url, anchor_poll_seconds=0.05) as here:
        here.database.write_now(lambda c: c.execute(update(TABLE).values(bare)))
        async with here.as_(OWNER) as owner:
            for _ in range(200):
                found = await owner.call(owner.datanet.GetSnapshot, pb.GetSnapshotRequest(name=last.name))
                if found.log_root:
                    break
                await asyncio.sleep(0.05)
            assert (found.root, found.anchor, found.record_count) == (last.root, last.anchor, 3)
            grew = await grown(owner, 1, 3)
            assert grew.new_root == found.log_root


async def test_a_lost_file_is_said(here, tmp_path):
    await give(here, ADA, TEXT, LIKE)
    async with here.as_(OWNER) as owner:
        snapshot = await cut(owner)
        store = ArtifactStore(tmp_path / "artifacts")
        manifest = Manifest.from_bytes(store.get(snapshot.manifest))
        store.path(manifest.files["README.md"].sha256).unlink()
        assert (await refused(file(owner, "README.md"))).reason == "SNAPSHOT_FILE_LOST"
