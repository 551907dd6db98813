"""Transport of what is proven and published of snapshots: proofs over a datanet's log, and files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from sqlalchemy import Connection

from openledger import merkle, names
from openledger.datanet.v1 import datanet_pb2 as pb
from openledger.snapshots.documents import MANIFEST, Manifest, log_root
from services.datanet import store_log, store_members, store_snapshots
from services.datanet.answers import Answers
from services.datanet.model import Snapshot, Visibility, snapshot_key
from services.datanet.publish import Places
from services.kit import call
from services.kit.auth import OPEN
from services.kit.errors import Fault, invalid, not_found, precondition

ACCESS = {"GetSnapshotProof": OPEN, "GetConsistencyProof": OPEN, "ReadSnapshotFile": OPEN}
_CHUNK = 256 * 2**10


class ProofMethods:
    """RPCs about datanets' logs, and about snapshots' files."""

    def __init__(self, answers: Answers, places: Places) -> None:
        self._answers, self._places = answers, places

    async def GetSnapshotProof(
        self, request: pb.GetSnapshotProofRequest, context: grpc.aio.ServicerContext
    ) -> pb.SnapshotProof:
        (datanet, version), caller = snapshot_key(request.snapshot), call.principal()

        def look(c: Connection) -> tuple[Snapshot, list[bytes]]:
            store_members.standing(c, datanet, caller)
            snapshot = store_snapshots.get(c, datanet, version)
            return snapshot, _log(c, datanet, request.size or store_log.size(c, datanet), "size")

        snapshot, log = await self._answers.database.read(look)
        if version > len(log):
            raise _not_logged(snapshot, len(log))
        return pb.SnapshotProof(
            snapshot=snapshot.name,
            leaf=log[version - 1],
            index=version - 1,
            size=len(log),
            path=merkle.inclusion_proof(log, version - 1),
            log_root=log_root(log),
        )

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, context: grpc.aio.ServicerContext
    ) -> pb.ConsistencyProof:
        (datanet,), caller = names.match("datanets/*", request.parent), call.principal()
        old, new = request.old_size, request.new_size
        if old > new:
            raise invalid("INVALID_FIELD", "old_size: must not be above new_size", "old_size")

        def look(c: Connection) -> list[bytes]:
            store_members.standing(c, datanet, caller)
            return _log(c, datanet, new, "new_size")

        log = await self._answers.database.read(look)
        return pb.ConsistencyProof(
            datanet=request.parent,
            old_size=old,
            new_size=new,
            old_root=log_root(log[:old]),
            new_root=log_root(log),
            path=merkle.consistency_proof(log, old),
        )

    async def ReadSnapshotFile(
        self, request: pb.ReadSnapshotFileRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ReadSnapshotFileResponse]:
        key, caller = snapshot_key(request.snapshot), call.principal()

        def look(c: Connection) -> Snapshot:
            at = store_members.standing(c, key[0], caller)
            if at.datanet.definition.visibility is Visibility.PRIVATE:
                at.must_own("reads the files of snapshots of")
            return store_snapshots.get(c, *key)

        snapshot = await self._answers.database.read(look)
        place = await asyncio.to_thread(self._file, snapshot, request.file)
        size, offset = place.stat().st_size, request.offset
        if offset > size:
            raise invalid("BAD_OFFSET", f"{request.file} has {size} bytes, fewer than the offset", "offset")
        while True:
            data = await asyncio.to_thread(_piece, place, offset, snapshot, request.file)
            yield pb.ReadSnapshotFileResponse(size=size, data=data)
            offset += len(data)
            if offset >= size or not data:
                return

    def _file(self, snapshot: Snapshot, name: str) -> Path:
        """Where it lies.  Raises `Fault`."""
        if not snapshot.manifest:
            raise _not_made(snapshot)
        if name == MANIFEST:
            return self._place(snapshot, name, snapshot.manifest)
        manifest = Manifest.from_bytes(self._place(snapshot, MANIFEST, snapshot.manifest).read_bytes())
        if name not in manifest.files:
            known = ", ".join((MANIFEST, *manifest.files))
            raise not_found("SNAPSHOT_FILE_NOT_FOUND", f"{snapshot.name} has no file of that name; it has {known}")
        return self._place(snapshot, name, manifest.files[name].sha256)

    def _place(self, snapshot: Snapshot, name: str, digest: str) -> Path:
        store = self._places.holding(digest)
        if store is None:
            raise _gone(snapshot, name)
        return store.path(digest)


def _log(connection: Connection, datanet: str, size: int, field: str) -> list[bytes]:
    """So many entries.  Raises `Fault` where there are fewer."""
    there = store_log.size(connection, datanet)
    if size > there:  # first of all: a size may have 64 bits, which no database takes
        raise invalid("LOG_IS_SHORTER", f"{field}: the log of datanets/{datanet} has {there} snapshots yet", field)
    return store_log.entries(connection, datanet, size)


def _piece(place: Path, offset: int, snapshot: Snapshot, name: str) -> bytes:
    try:
        with place.open("rb") as file:
            file.seek(offset)
            return file.read(_CHUNK)
    except FileNotFoundError:
        raise _gone(snapshot, name) from None


def _not_logged(snapshot: Snapshot, size: int) -> Fault:
    return precondition(
        "NOT_IN_LOG",
        f"{snapshot.name} is not among the first {size} snapshots of its datanet's log: ask for a larger one, or again "
        "once its files are made",
    )


def _not_made(snapshot: Snapshot) -> Fault:
    return precondition("NOT_PUBLISHED_YET", f"the files of {snapshot.name} are not made yet: ask again soon")


def _gone(snapshot: Snapshot, name: str) -> Fault:
    message = f"{name} of {snapshot.name} is not where it was put; the operator has lost it"
    return precondition("SNAPSHOT_FILE_LOST", message, file=name)
