"""Transport of snapshots: cutting, reading, proving."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.longrunning import operations_pb2
from sqlalchemy import Connection

from openledger import merkle, names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import anchoring, pages, store_members, store_records, store_snapshots, wire
from services.datanet.answers import Answers, now
from services.datanet.model import Snapshot, snapshot_key
from services.datanet.publishing import Publishing
from services.datanet.vault import Vault
from services.kit import call
from services.kit.auth import ACCOUNTS, OPEN, services
from services.kit.errors import Fault, denied, not_found
from services.kit.operations import Operations, operation_name

ACCESS = {
    "CreateSnapshot": ACCOUNTS,
    "GetSnapshot": OPEN,
    "ListSnapshots": OPEN,
    "ReadSnapshot": services("factory", accounts=True),
    "GetInclusionProof": ACCOUNTS,
}
BATCH = 64
_DAY = 86_400 * 10**6
_READERS = frozenset({"factory"})


class SnapshotMethods:
    """RPCs about snapshots.  `a_day`: how many an owner may cut in 24 hours, for each is a transaction on chain."""

    def __init__(
        self, answers: Answers, vault: Vault, operations: Operations, background: Publishing, a_day: int
    ) -> None:
        self._answers, self._vault, self._snapshots_a_day = answers, vault, a_day
        self._operations, self._background = operations, background

    async def CreateSnapshot(
        self, request: pb.CreateSnapshotRequest, context: grpc.aio.ServicerContext
    ) -> operations_pb2.Operation:
        (datanet,) = names.match("datanets/*", request.parent)
        caller = call.principal()

        def act(c: Connection) -> Any:
            store_members.standing(c, datanet, caller).must_own("cuts snapshots of")
            time = now()
            store_snapshots.check_room(c, caller.address, time - _DAY, self._snapshots_a_day)
            snapshot = store_snapshots.cut(c, datanet, lambda v: operation_name("snapshot", f"{datanet}-{v}"), time)
            progress = anchoring.progress(snapshot, anchoring.FROZEN)
            return self._operations.create(c, snapshot.operation, caller.name, progress)

        operation = await self._answers.once(
            "CreateSnapshot", request.request_id, request, operations_pb2.Operation, act
        )
        self._background.wake()
        return operation

    async def GetSnapshot(self, request: pb.GetSnapshotRequest, context: grpc.aio.ServicerContext) -> pb.Snapshot:
        key, caller = snapshot_key(request.name), call.principal()

        def look(c: Connection) -> Snapshot:
            store_members.standing(c, key[0], caller)
            return store_snapshots.get(c, *key)

        return wire.snapshot(await self._answers.database.read(look))

    async def ListSnapshots(
        self, request: pb.ListSnapshotsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListSnapshotsResponse:
        (datanet,) = names.match("datanets/*", request.parent)
        question, size = f"snapshots of {datanet}", pages.size(request.page_size)
        after, caller = pages.after(question, request.page_token, [int]), call.principal()

        def look(c: Connection) -> list[Snapshot]:
            store_members.standing(c, datanet, caller)
            return store_snapshots.page(c, datanet, int(after[0]) if after else None, size + 1)

        page, more = pages.cut(await self._answers.database.read(look), size, lambda _: 500)
        token = pages.token(question, [page[-1].version]) if more else ""
        return pb.ListSnapshotsResponse(snapshots=map(wire.snapshot, page), next_page_token=token)

    async def ReadSnapshot(
        self, request: pb.ReadSnapshotRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ReadSnapshotResponse]:
        key, principal = snapshot_key(request.name), call.principal()

        def look(c: Connection) -> tuple[bool, Snapshot]:
            at = store_members.standing(c, key[0], principal)
            return at.owns or principal.service in _READERS, store_snapshots.get(c, *key)

        may, snapshot = await self._answers.database.read(look)
        if not may:
            raise _closed(request.name)
        leaf = request.start
        while leaf < snapshot.record_count:
            batch = await self._answers.database.read(lambda c, start=leaf: self._batch(c, snapshot, start))  # type: ignore[misc]
            yield batch
            leaf += len(batch.records)

    async def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, context: grpc.aio.ServicerContext
    ) -> pb.InclusionProof:
        key, viewer = snapshot_key(request.snapshot), call.principal()
        datanet, record_id = names.match("datanets/*/records/*", request.record)
        if datanet != key[0]:
            raise not_found("RECORD_NOT_IN_SNAPSHOT", f"{request.record} is of another datanet than {request.snapshot}")

        def look(c: Connection) -> pb.InclusionProof:
            at = store_members.standing(c, datanet, viewer)
            snapshot = store_snapshots.get(c, *key)
            record = store_records.get(c, datanet, record_id, viewer.address)
            if not at.owns and viewer.address != record.contributor:
                raise _closed(request.record)
            leaf, tree = store_snapshots.leaf_of(c, snapshot, record_id), store_snapshots.commitments(c, snapshot)
            content = store_records.contents(c, self._vault, [record_id]).get(record_id)
            return pb.InclusionProof(
                snapshot=snapshot.name,
                record=record.name,
                leaf=leaf,
                size=len(tree),
                commitment=record.commitment,
                path=merkle.inclusion_proof(tree, leaf),
                root=snapshot.root,
                salt=content.salt if content else b"",
            )

        return await self._answers.database.read(look)

    def _batch(self, connection: Connection, snapshot: Snapshot, start: int) -> pb.ReadSnapshotResponse:
        rows = store_snapshots.leaves(connection, snapshot, start, BATCH)
        page, _ = pages.cut(rows, BATCH, lambda record: record.size)
        contents = store_records.contents(connection, self._vault, [record.id for record in page])
        found = [wire.snapshot_record(leaf, record, contents.get(record.id)) for leaf, record in enumerate(page, start)]
        return pb.ReadSnapshotResponse(records=found)


def _closed(name: str) -> Fault:
    return denied("NOT_YOURS", f"what {name} holds is for its datanet's owner, and a record for its contributor too")
