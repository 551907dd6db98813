"""Snapshots that are cut, published and anchored, whenever the service is killed meanwhile."""

from __future__ import annotations

import asyncio
import signal
import stat
from contextlib import suppress

import pytest

from openledger.artifacts import ArtifactStore
from openledger.cli.datanet.proving import snapshot_proof
from openledger.client import ApiError
from openledger.datanet.v1 import datanet_pb2 as pb
from openledger.snapshots import folder
from openledger.snapshots.documents import MANIFEST, Manifest
from tests.datanet_process import process
from tests.datanet_world import ADA, OWNER, SNAPSHOT, begin_snapshot, give, new_id, open_datanet, world

POINTS = (
    "store_snapshots.cut:before",
    "store_snapshots.cut:after",
    "publishing.Publisher.publish:before",
    "publish.folder.make:after",
    "publish.ArtifactStore.put_file:after",
    "publish.publish:after",
    "store_log.append:before",
    "store_log.append:after",
    "publishing.Publisher.publish:after",
    "store_snapshots.anchor:before",
    "store_snapshots.anchor:after",
)


@pytest.mark.parametrize("point", POINTS)
async def test_kill_9_at_any_step_of_a_snapshot_is_gone_on_from(ledger, ledger_at, tmp_path, point):
    async with world(tmp_path, ledger, ledger_at) as here, here.as_(OWNER) as owner:
        await open_datanet(owner)
        await give(here, ADA, "one", "two", "three")
    request = new_id()
    async with process(tmp_path, ledger_at, point) as (child, at), ledger.issuer.client(OWNER, datanet=at) as owner:
        with suppress(ApiError):
            await owner.wait("datanet", await begin_snapshot(owner, request), pb.Snapshot, 10)
        assert await asyncio.wait_for(child.wait(), 20) == -signal.SIGKILL
    async with process(tmp_path, ledger_at) as (_, at), ledger.issuer.client(OWNER, datanet=at) as owner:
        snapshot = await owner.wait("datanet", await begin_snapshot(owner, request), pb.Snapshot, 20)
        assert (snapshot.name, snapshot.record_count, bool(snapshot.anchor.transaction)) == (SNAPSHOT, 3, True)
        listed = await owner.call(owner.datanet.ListSnapshots, pb.ListSnapshotsRequest(parent="datanets/terms"))
        assert list(listed.snapshots) == [snapshot], "one, and not two"
        proof = await snapshot_proof(owner, SNAPSHOT)
        proof.check()
        assert proof.snapshot.manifest == snapshot.manifest
    assert {(asked.snapshot, asked.root) for asked in ledger.seen} == {(SNAPSHOT, snapshot.root)}
    assert len({asked.request_id for asked in ledger.seen}) == 1, "one transaction"
    _check_files(tmp_path, snapshot.manifest)


def _check_files(place, digest):
    store, copy = ArtifactStore(place / "artifacts"), place / "copy"
    copy.mkdir()
    (copy / MANIFEST).write_bytes(store.get(digest))
    for name, file in Manifest.from_bytes(store.get(digest)).files.items():
        (copy / name).write_bytes(store.get(file.sha256))
    folder.check(copy)
    private = place / "datanet" / "snapshots"
    assert list(private.iterdir()) == []
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert len([file for file in store.root.rglob("*") if file.is_file()]) == 4, "nothing is left of another attempt"
