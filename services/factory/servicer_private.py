"""Transport of private files: to Attribution, which shows people what is theirs, and to the revision's owner.

A file is sent as it lies on disk; whoever receives it compares it with the manifest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from sqlalchemy import Connection

from openledger import canonical, manifest
from openledger.factory.v1 import factory_pb2 as pb
from services.factory import store_revisions
from services.factory.workshop import Workshop
from services.kit import call
from services.kit.auth import Principal, services
from services.kit.errors import Fault, invalid, not_found, precondition

ACCESS = {"ReadPrivateFile": services("attribution", accounts=True)}
_CHUNK = 2**20


class PrivateFileMethods:
    """Part of the servicer."""

    def __init__(self, workshop: Workshop) -> None:
        self._w, self._database = workshop, workshop.database

    async def ReadPrivateFile(
        self, request: pb.ReadPrivateFileRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ReadPrivateFileResponse]:
        caller = call.principal()  # here: another thread does not know whose call it is
        await self._database.read(lambda c: _check(c, caller, request))
        place = self._w.private.place(request.revision.rpartition("/")[2], request.file)
        size = await asyncio.to_thread(_size, place, request)
        offset = request.offset
        while True:
            data = await asyncio.to_thread(_piece, place, offset, request)
            yield pb.ReadPrivateFileResponse(size=size, data=data)
            offset += len(data)
            if offset >= size or not data:
                return


def _check(c: Connection, caller: Principal, request: pb.ReadPrivateFileRequest) -> None:
    """Raises `Fault` unless there is such a file, for this caller to read."""
    name = request.revision
    revision = store_revisions.find_revision(c, name)
    if revision is None or not (caller.service or store_revisions.is_owner(c, name, caller.address)):
        raise not_found("REVISION_NOT_FOUND", f"{caller.name} has no published {name}")
    promised = manifest.from_json(canonical.parse_json(revision.manifest)).private_files
    if request.file not in promised:
        known = ", ".join(promised) or "none"
        raise not_found("PRIVATE_FILE_NOT_FOUND", f"{name} has no private file of that name; it has {known}")
    if revision.flags:
        raise precondition(
            "PRIVATE_FILE_ERASED",
            f"a record that {name} was made from is erased, and its private files with it",
            record=revision.flags[0].record,
        )


def _size(place: Path, request: pb.ReadPrivateFileRequest) -> int:
    try:
        size = place.stat().st_size
    except FileNotFoundError:
        raise _lost(request) from None
    if request.offset > size:
        raise invalid("BAD_OFFSET", f"{request.file} has {size} bytes, fewer than the offset", "offset")
    return size


def _piece(place: Path, offset: int, request: pb.ReadPrivateFileRequest) -> bytes:
    try:
        with place.open("rb") as file:
            file.seek(offset)
            return file.read(_CHUNK)
    except FileNotFoundError:  # erased meanwhile: not a byte more of it leaves
        raise _lost(request) from None


def _lost(request: pb.ReadPrivateFileRequest) -> Fault:
    return precondition(
        "PRIVATE_FILE_LOST",
        f"{request.file} of {request.revision} is not here any more; make the fine-tune again: it gives the same file",
        file=request.file,
    )
