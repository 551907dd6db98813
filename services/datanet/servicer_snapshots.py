"""Transport of snapshots: cutting, reading, proving."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.longrunning import operations_pb2
from sqlalchemy import Connection

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import anchoring, freeze, pages, store, store_records, store_snapshots, wire
from services.datanet.anchoring import Anchoring
from services.datanet.answers import Answers, now
from services.datanet.model import Snapshot, snapshot_key
from services.kit import call
from services.kit.errors import Fault, denied, not_found
from services.kit.operations import Operations, operation_name

BATCH = 64
_READERS = frozenset({"factory"})


class SnapshotMethods:
    """RPCs about snapshots."""

    def __init__(self, answers: Answers, operations: Operations, background: Anchoring) -> None:
        self._answers = answers
        self._operations, self._background = operations, background

    async def CreateSnapshot(
        self, request: pb.CreateSnapshotRequest, context: grpc.aio.ServicerContext
    ) -> operations_pb2.Operation:
        (datanet,) = names.match("datanets/*", request.parent)
        caller = call.principal()

        def act(c: Connection) -> Any:
            if store.get(c, datanet).owner != caller.address:
                raise denied("NOT_YOURS", f"only the owner of {request.parent} cuts its snapshots")
            snapshot = store_snapshots.cut(c, datanet, lambda v: operation_name("snapshot", f"{datanet}-{v}"), now())
            progress = anchoring.progress(snapshot, anchoring.FROZEN)
            return self._operations.create(c, snapshot.operation, caller.name, progress)

        operation = await self._answers.once(
            "CreateSnapshot", request.request_id, request, operations_pb2.Operation, act
        )
        self._background.wake()
        return operation

    async def GetSnapshot(self, request: pb.GetSnapshotRequest, context: grpc.aio.ServicerContext) -> pb.Snapshot:
        key = snapshot_key(request.name)
        return wire.snapshot(await self._answers.database.read(lambda c: store_snapshots.get(c, *key)))

    async def ListSnapshots(
        self, request: pb.ListSnapshotsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListSnapshotsResponse:
        (datanet,) = names.match("datanets/*", request.parent)
        question, size = f"snapshots of {datanet}", pages.size(request.page_size)
        after = pages.after(question, request.page_token, [int])

        def look(c: Connection) -> list[Snapshot]:
            store.get(c, datanet)
            return store_snapshots.page(c, datanet, int(after[0]) if after else None, size + 1)

        page, more = pages.cut(await self._answers.database.read(look), size, lambda _: 500)
        token = pages.token(question, [page[-1].version]) if more else ""
        return pb.ListSnapshotsResponse(snapshots=map(wire.snapshot, page), next_page_token=token)

    async def ReadSnapshot(
        self, request: pb.ReadSnapshotRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ReadSnapshotResponse]:
        key, principal = snapshot_key(request.name), call.principal()

        def look(c: Connection) -> tuple[str, Snapshot]:
            return store.get(c, key[0]).owner, store_snapshots.get(c, *key)

        owner, snapshot = await self._answers.database.read(look)
        if principal.service not in _READERS and principal.address != owner:
            raise _closed(request.name)
        leaf = request.start
        while leaf < snapshot.record_count:
            batch = await self._answers.database.read(lambda c, start=leaf: _batch(c, snapshot, start))  # type: ignore[misc]
            yield batch
            leaf += len(batch.records)

    async def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, context: grpc.aio.ServicerContext
    ) -> pb.InclusionProof:
        key, viewer = snapshot_key(request.snapshot), call.principal().address
        datanet, record_id = names.match("datanets/*/records/*", request.record)
        if datanet != key[0]:
            raise not_found("RECORD_NOT_IN_SNAPSHOT", f"{request.record} is of another datanet than {request.snapshot}")

        def look(c: Connection) -> pb.InclusionProof:
            snapshot, record = store_snapshots.get(c, *key), store_records.get(c, datanet, record_id)
            if viewer not in (record.contributor, store.get(c, datanet).owner):
                raise _closed(request.record)
            leaf, tree = store_snapshots.leaf_of(c, snapshot, record_id), store_snapshots.commitments(c, snapshot)
            return pb.InclusionProof(
                snapshot=snapshot.name,
                record=record.name,
                leaf=leaf,
                size=len(tree),
                commitment=record.commitment,
                path=freeze.proof(tree, leaf),
                root=snapshot.root,
                salt=store_records.contents(c, [record_id])[record_id].salt,
            )

        return await self._answers.database.read(look)


def _batch(connection: Connection, snapshot: Snapshot, start: int) -> pb.ReadSnapshotResponse:
    rows = store_snapshots.leaves(connection, snapshot, start, BATCH)
    page, _ = pages.cut(rows, BATCH, lambda record: record.size)
    contents = store_records.contents(connection, [record.id for record in page])
    found = [wire.snapshot_record(leaf, record, contents[record.id]) for leaf, record in enumerate(page, start)]
    return pb.ReadSnapshotResponse(records=found)


def _closed(name: str) -> Fault:
    return denied("NOT_YOURS", f"what {name} holds is for its datanet's owner, and a record for its contributor too")
