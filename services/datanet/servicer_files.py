"""Transport of files: bytes in, what could be records out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import store_members
from services.datanet.answers import Answers
from services.datanet.files.found import Problem
from services.datanet.files.mapping import Entry
from services.datanet.files.parsed import About, Answer, Picture
from services.datanet.parse import Arriving, Parsing, shown
from services.datanet.upload import Room
from services.kit import call
from services.kit.auth import ACCOUNTS
from services.kit.errors import exhausted, invalid

ACCESS = {"ParseFile": ACCOUNTS}

_MESSAGE_BYTES = 256 * 2**10  # of records in one answer; a single record may have more


class FileMethods:
    """RPCs about files."""

    def __init__(self, answers: Answers, parsing: Parsing, room: Room, max_bytes: int) -> None:
        self._answers = answers
        self._parsing, self._files, self._max_file = parsing, room, max_bytes
        self._has_one: set[str] = set()

    async def ParseFile(
        self, requests: AsyncIterator[pb.ParseFileRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ParseFileResponse]:
        caller = call.principal()
        if caller.name in self._has_one:
            message = "a file of yours is being read: send one after the other"
            raise exhausted("FILE_IN_HAND", message, retry_after=1)
        self._has_one.add(caller.name)
        try:
            header = await _header(requests)
            (datanet,) = names.match("datanets/*", header.datanet)
            at = await self._answers.database.read(lambda c: store_members.standing(c, datanet, caller))
            at.must_give()
            fields = [field.id for field in at.datanet.definition.fields]
            with Arriving(self._files, self._max_file, header.size, header.sha256) as file:
                await _receive(requests, file)
                name, misleads = shown(header.name)
                answer = await self._parsing.parse(file.handle, name, fields, header.mapping)
                file.hold(answer.size)
                for response in _responses(answer, name, misleads):
                    yield response
        finally:
            self._has_one.discard(caller.name)


async def _header(requests: AsyncIterator[pb.ParseFileRequest]) -> pb.FileHeader:
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise invalid("HEADER_FIRST", "the first message of a file must be its header", "header")
    return first.header


async def _receive(requests: AsyncIterator[pb.ParseFileRequest], file: Arriving) -> None:
    async for message in requests:
        if message.WhichOneof("part") != "chunk":
            raise invalid("CHUNKS_AFTER_HEADER", "after the header, every message must be a piece of the file", "chunk")
        file.add(message.chunk)
    file.close()


def _responses(answer: Answer, name: str, misleads: Problem | None) -> Iterator[pb.ParseFileResponse]:
    """As many messages as it takes; the last one says what the file was."""
    response, size, index = pb.ParseFileResponse(), 0, 0
    if misleads is not None:
        response.problems.append(_problem(misleads))
    for found in answer.found():
        if isinstance(found, Problem):
            response.problems.append(_problem(found))
            size += response.problems[-1].ByteSize()
        else:
            response.records.append(_record(index, found, name, answer.about.picture))
            size, index = size + response.records[-1].ByteSize(), index + 1
        if size > _MESSAGE_BYTES:
            yield response
            response, size = pb.ParseFileResponse(), 0
    response.file.CopyFrom(_file(answer.about, name, index, answer.about.problem_count + bool(misleads)))
    yield response


def _record(index: int, entry: Entry, name: str, picture: Picture | None) -> pb.ParsedRecord:
    source = f"{name}, {entry.place}" if entry.place else name
    record = pb.ParsedRecord(index=index, place=entry.place, fields=entry.fields, source=source, notes=entry.notes)
    if picture is not None:
        record.image.CopyFrom(
            pb.Image(
                media_type=picture.media_type,
                width=picture.width,
                height=picture.height,
                size=picture.size,
                sha256=picture.sha256,
                clean_sha256=picture.clean_sha256,
            )
        )
    return record


def _problem(problem: Problem) -> pb.FileProblem:
    return pb.FileProblem(place=problem.place, reason=problem.reason, message=problem.message)


def _file(about: About, name: str, records: int, problems: int) -> pb.ParsedFile:
    return pb.ParsedFile(
        name=name,
        media_type=about.media_type,
        encoding=about.encoding,
        record_count=records,
        problem_count=problems,
        parts=about.parts,
        mapping=about.mapping,
    )
