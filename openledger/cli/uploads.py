"""A contributor's files on their way into a datanet: taken apart by the service, signed for here, sent in parts.

A part is some records of one file, in order, under one declaration.  Which records are in it, and its request id,
follow from the file, the datanet and the wallet alone: whoever runs it again sends the same parts, and what was taken
already is answered as it was.  Knows nothing of terminals.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc

from openledger import records, signing
from openledger.client import ApiError, Client, Wallet
from openledger.datanet.v1 import datanet_pb2 as pb

T = TypeVar("T")

PIECE = 2**20
PART_RECORDS, PART_BYTES = 1_000, 8 * 2**20
"""Of one declaration; a single record may have more bytes."""
_TRIES = 6
_SPACE = uuid.UUID("0f9f2d0e-5b0c-4b56-9d1c-6d6f3f1d7a11")
"""In which request ids are made."""


@dataclass
class File:
    """A file: what could be records in it, what could not be read, and what became of each record, by its index."""

    path: Path
    about: pb.ParsedFile = field(default_factory=pb.ParsedFile)
    records: list[pb.ParsedRecord] = field(default_factory=list)
    problems: list[pb.FileProblem] = field(default_factory=list)
    outcomes: dict[int, pb.RecordOutcome] = field(default_factory=dict)

    @property
    def texts(self) -> list[pb.ParsedRecord]:
        """Records that can be sent: those that are no images."""
        return [record for record in self.records if not record.HasField("image")]


def found(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant, each once; of a folder all that are in it, hidden ones left out.

    Raises `ValueError` for what is not there.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if not any(n.startswith(".") for n in p.relative_to(path).parts))
            files.update(dict.fromkeys(sorted(p for p in inside if p.is_file())))
        elif path.is_file():
            files[path] = None
        else:
            raise ValueError(f"there is no file {path}")
    if not files:
        raise ValueError("there are no files in what was named")
    return list(files)


async def parsed(client: Client, datanet: str, path: Path, mapping: Mapping[str, str]) -> File:
    """A file, taken apart.  One that the service does not take as a whole has that as its problem.

    Raises `ApiError` where it is not the file's fault, `OSError`.
    """

    async def once() -> File:
        file = File(path)
        async for answer in client.stream(client.datanet.ParseFile, _pieces(datanet, path, mapping)):
            file.records.extend(answer.records)
            file.problems.extend(answer.problems)
            file.about.MergeFrom(answer.file)
        return file

    try:
        file = await _again(once)
    except ApiError as error:
        if error.reason not in {"FILE_TOO_LARGE", "FILE_MISMATCH"}:
            raise
        problem = pb.FileProblem(reason=error.reason, message=error.message)
        return File(path, pb.ParsedFile(name=path.name, problem_count=1), problems=[problem])
    for record in file.records:
        if record.HasField("image"):
            said = "datanets hold text: an image is not taken"
            file.problems.append(pb.FileProblem(place=record.place, reason="NOT_OFFERED", message=said))
    return file


def parts(drafts: Sequence[pb.ParsedRecord]) -> Iterator[list[pb.ParsedRecord]]:
    """Records in order, as many together as one declaration is about."""
    part: list[pb.ParsedRecord] = []
    size = 0
    for draft in drafts:
        more = draft.ByteSize()
        if part and (len(part) == PART_RECORDS or size + more > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(draft)
        size += more
    if part:
        yield part


def declared(wallet: Wallet, datanet: pb.Datanet, root: bytes, count: int, request_id: str) -> pb.Declaration:
    """A wallet's signed word about so many records with that content root."""
    typed = signing.declaration(
        datanet.name, wallet.address, root, count, datanet.licence, signing.STATEMENT, request_id
    )
    return pb.Declaration(
        contributor=wallet.account,
        content_root=root,
        record_count=count,
        licence=datanet.licence,
        statement=signing.STATEMENT,
        signature=wallet.sign(typed),
    )


async def sent(client: Client, wallet: Wallet, datanet: pb.Datanet, part: Sequence[pb.ParsedRecord]) -> Any:
    """A part's `ContributeRecordsResponse`: signed for, and sent until it is answered.  Raises `ApiError`."""
    header = _header(wallet, datanet, part)

    async def stream() -> AsyncIterator[pb.ContributeRecordsRequest]:
        yield pb.ContributeRecordsRequest(header=header)
        for draft in part:
            yield pb.ContributeRecordsRequest(record=pb.RecordInput(fields=draft.fields, source=draft.source))

    return await _again(lambda: client.call(client.datanet.ContributeRecords, stream(), 600))


def _header(wallet: Wallet, datanet: pb.Datanet, part: Sequence[pb.ParsedRecord]) -> pb.ContributionHeader:
    root = records.content_root(records.canonical_bytes(wallet.address, dict(d.fields), d.source) for d in part)
    said = f"{datanet.name}\n{wallet.address}\n{datanet.licence}\n{signing.STATEMENT}\n{root.hex()}"
    request_id = str(uuid.uuid5(_SPACE, said))
    declaration = declared(wallet, datanet, root, len(part), request_id)
    return pb.ContributionHeader(datanet=datanet.name, declaration=declaration, request_id=request_id)


async def _pieces(datanet: str, path: Path, mapping: Mapping[str, str]) -> AsyncIterator[pb.ParseFileRequest]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.seek(0, 2)
        header = pb.FileHeader(datanet=datanet, name=path.name, size=size, sha256=digest, mapping=mapping)
        yield pb.ParseFileRequest(header=header)
        file.seek(0)
        while piece := file.read(PIECE):
            yield pb.ParseFileRequest(chunk=piece)


async def _again(work: Callable[[], Awaitable[T]]) -> T:
    """Its result; tried again while the service is away, or says when to ask again and that is soon."""
    for left in reversed(range(_TRIES)):
        try:
            return await work()
        except ApiError as error:
            soon = error.retry_after is not None and error.retry_after <= 30
            if not left or not (soon or error.code is grpc.StatusCode.UNAVAILABLE):
                raise
            await asyncio.sleep(error.retry_after or 1)
    raise AssertionError
