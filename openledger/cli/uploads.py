"""A contributor's files: which are meant, and what the service finds in them.  Knows nothing of terminals."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openledger import giving
from openledger.cli.giver import Outcome
from openledger.client import ApiError, Client
from openledger.datanet.v1 import datanet_pb2 as pb

PIECE = 2**20


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
        file = await giving.again(once)
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


async def _pieces(datanet: str, path: Path, mapping: Mapping[str, str]) -> AsyncIterator[pb.ParseFileRequest]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.seek(0, 2)
        header = pb.FileHeader(datanet=datanet, name=path.name, size=size, sha256=digest, mapping=mapping)
        yield pb.ParseFileRequest(header=header)
        file.seek(0)
        while piece := file.read(PIECE):
            yield pb.ParseFileRequest(chunk=piece)
