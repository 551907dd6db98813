"""A contributor's files: which are meant, and what the service finds in them.  Knows nothing of terminals."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import grpc

from openledger import giving
from openledger.cli.giver import Outcome
from openledger.client import ApiError, Client
from openledger.datanet.v1 import datanet_pb2 as pb

PIECE = 2**20
_BODIES = {"paragraph", "section", "page", "whole"}
_FILES_FAULT = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DEADLINE_EXCEEDED}


@dataclass
class File:
    """A file: what could be records in it, what could not be read, and what became of each record, by its index."""

    path: Path
    about: pb.ParsedFile = field(default_factory=pb.ParsedFile)
    records: list[pb.ParsedRecord] = field(default_factory=list)
    problems: list[pb.FileProblem] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @property
    def texts(self) -> list[pb.ParsedRecord]:
        """Records that can be sent: those that are no images."""
        return [record for record in self.records if not record.HasField("image")]


def found(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant, each once; of a folder all that are in it, hidden ones left out.

    Raises `ValueError` for what is not there.
    """
    files: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if not any(n.startswith(".") for n in p.relative_to(path).parts))
            named = sorted(p for p in inside if p.is_file())
        elif path.is_file():
            named = [path]
        else:
            raise ValueError(f"there is no file {path}")
        for one in named:
            files.setdefault(one.resolve(), one)
    if not files:
        raise ValueError("there are no files in what was named")
    return list(files.values())


async def parsed(client: Client, datanet: str, path: Path, said: Mapping[str, str]) -> File:
    """A file, taken apart.  One that cannot be read, or is not taken as a whole, has that as its problem.

    said: field id by part, of those parts that the file has; the others are which field their names tell.

    Raises `ApiError` where it is not the file's fault.
    """
    try:
        file = await _mapped(client, datanet, path, said)
    except (ApiError, OSError) as error:
        if isinstance(error, ApiError) and error.code not in _FILES_FAULT:
            raise
        reason, message = (error.reason, error.message) if isinstance(error, ApiError) else ("NOT_READ", str(error))
        return File(
            path,
            pb.ParsedFile(name=path.name, problem_count=1),
            problems=[pb.FileProblem(reason=reason, message=message)],
        )
    for record in file.records:
        if record.HasField("image"):
            words = "datanets hold text: an image is not taken"
            file.problems.append(pb.FileProblem(place=record.place, reason="NOT_OFFERED", message=words))
    return file


def unknown(said: Mapping[str, str], files: Sequence[File]) -> list[str]:
    """The parts among those said that no file has."""
    there = {part for file in files for part in file.about.parts}
    return [part for part in said if part not in there]


async def _mapped(client: Client, datanet: str, path: Path, said: Mapping[str, str]) -> File:
    first = await _once(client, datanet, path, said)
    if not said or not first.about.parts:
        return first
    by_name = await _once(client, datanet, path, {})
    mine = {part: field for part, field in said.items() if part in first.about.parts}
    if not mine:
        return by_name
    has_body = not _BODIES.isdisjoint(mine)  # of these one is read
    more = {
        part: field
        for part, field in by_name.about.mapping.items()
        if part not in mine and field not in mine.values() and not (has_body and part in _BODIES)
    }
    return first if not more and mine == said else await _once(client, datanet, path, mine | more)


async def _once(client: Client, datanet: str, path: Path, mapping: Mapping[str, str]) -> File:
    # Opened here: what is raised while messages are made comes out as a cancelled call.
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        header = pb.FileHeader(datanet=datanet, name=path.name, size=opened.seek(0, 2), sha256=digest, mapping=mapping)

        async def read() -> File:
            file = File(path)
            async for answer in client.stream(client.datanet.ParseFile, _pieces(header, opened)):
                file.records.extend(answer.records)
                file.problems.extend(answer.problems)
                file.about.MergeFrom(answer.file)
            return file

        return await giving.again(read)


async def _pieces(header: pb.FileHeader, opened: BinaryIO) -> AsyncIterator[pb.ParseFileRequest]:
    yield pb.ParseFileRequest(header=header)
    opened.seek(0)
    while piece := opened.read(PIECE):
        yield pb.ParseFileRequest(chunk=piece)
