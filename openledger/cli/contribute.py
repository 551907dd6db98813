"""`openledger contribute`: files into a datanet: looked at first, signed for, and what became of each record told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run
from openledger.cli.datanet.datanets import full_name
from openledger.datanet.v1 import datanet_pb2 as pb

if TYPE_CHECKING:
    from rich.console import Console

    from openledger.cli.giver import Giver
    from openledger.cli.uploads import File
    from openledger.client import Client


def contribute(
    datanet: Annotated[str, typer.Argument(metavar="DATANET", help="Its id, or datanets/<id>.")],
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="JSONL, CSV, Markdown, TXT, PDF, DOCX; or folders of them.")
    ],
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="PART=FIELD, such as Question=prompt: of a column, or paragraph, section, page, where a file has it.",
        ),
    ] = None,
    source: Annotated[
        str, typer.Option("--source", metavar="TEXT", help="Where it is from, in place of the file's name.")
    ] = "",
    no_source: Annotated[bool, typer.Option("--no-source", help="Do not say where it is from.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Sign and send without being asked.")] = False,
    masked: Annotated[
        bool, typer.Option("--masked", help="Sign and send as suggested what is refused for personal data in it.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Have all judged anew, also what was erased since; what was taken stays.")
    ] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would be sent.")] = False,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Give what is in files to a datanet.  It is shown first; what you sign for, and under which licence, is said.

    Broken off, it is simply run again: what was taken is known, and not taken twice.  The exit status is 1 when not all
    could be sent, or nothing was taken.

    Example: openledger contribute rare-terms terms.csv notes/ --map Meaning=text

    Example: openledger contribute rare-terms terms.jsonl --yes --json > outcomes.json
    """
    from openledger.cli import contributed
    from openledger.cli.giver import ACCEPTED, BEFORE, WAITING

    if source and no_source:
        raise typer.BadParameter("--source, --no-source: one of them")
    how = _How(_mapping(mapping or ()), "" if no_source else source or None, yes, masked, again, preview)
    connection = Connection(data, first_port, key, tuple(at or ()))
    files, all_sent = run(lambda: _contribute(connection, full_name(datanet), paths, how))
    if as_json:
        document = contributed.document(full_name(datanet), files)
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    elif not preview:
        contributed.tell(datanet, files)
    taken = contributed.count(files)
    if not preview and not (all_sent and (taken[ACCEPTED] or taken[WAITING] or taken[BEFORE])):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _How:
    """What options say.  mapping: field id by part.  source: in place of the file's name, where it is not `None`."""

    mapping: Mapping[str, str]
    source: str | None
    yes: bool
    masked: bool
    again: bool
    preview: bool


async def _contribute(
    connection: Connection, datanet: str, paths: Sequence[Path], how: _How
) -> tuple[list[File], bool]:
    """The files, with what became of their records where they were sent, and whether nothing kept any from that."""
    from rich.console import Console

    from openledger.cli import contributed, uploads
    from openledger.cli.giver import Giver

    console = Console(stderr=True, highlight=False)
    async with connection.client() as client:
        into: pb.Datanet = await client.call(client.datanet.GetDatanet, pb.GetDatanetRequest(name=datanet))
        files = await _read(client, into, paths, how.mapping, console)
        if how.source is not None:
            _rename(files, how.source)
        contributed.preview(files, console)
        if missing := uploads.unknown(how.mapping, files):
            raise ValueError(f"--map: no file has {', '.join(map(repr, missing))}")
        if how.preview or not any(file.texts for file in files):
            return files, True
        if not how.yes and not _agrees(client, into, files):
            return files, True
        giver = Giver(client, into, anew=how.again)
        await _give(giver, files, console)
        other = _masked(files) if how.masked else []
        if other:
            contributed.preview(other, console)
            if how.yes or _agrees(client, into, other):
                await _give(giver, other, console)
                _put(files, other)
        return files, giver.stopped is None


async def _read(
    client: Client, into: pb.Datanet, paths: Sequence[Path], mapping: Mapping[str, str], console: Console
) -> list[File]:
    from openledger.cli import uploads

    names, files = uploads.found(paths), []
    with _bar(console, "reading", len(names)) as advance:
        for path in names:
            files.append(await uploads.parsed(client, into.name, path, mapping))
            advance(1)
    return files


def _rename(files: Sequence[File], source: str) -> None:
    """Have records say that they are from `source`, and their place in it; from nowhere where it is empty."""
    for file in files:
        for record in file.records:
            record.source = source and ", ".join(filter(None, (source, record.place)))


async def _give(giver: Giver, files: Sequence[File], console: Console) -> None:
    from openledger import giving

    with _bar(console, "sending", sum(len(file.texts) for file in files)) as advance:
        for file in files:
            for part in giving.parts(file.texts):
                outcomes = await giver.give(part)
                file.outcomes.update((text.index, outcome) for text, outcome in zip(part, outcomes, strict=True))
                advance(len(part))


def _masked(files: Sequence[File]) -> list[File]:
    """As suggested, what was refused with a suggestion: copies of the files that have such records."""
    from openledger.cli import giver, uploads

    again = []
    for file in files:
        more = uploads.File(file.path, file.about)
        for record in file.texts:
            outcome = file.outcomes[record.index]
            if outcome.state == giver.REFUSED and outcome.suggested:
                other = pb.ParsedRecord(index=record.index, place=record.place, source=record.source)
                other.fields.update(outcome.suggested)
                more.records.append(other)
        if more.records:
            again.append(more)
    return again


def _put(files: Sequence[File], sent: Sequence[File]) -> None:
    """What was sent in place of records, and what became of it, in the files that have those."""
    by_path = {file.path: file for file in files}
    for more in sent:
        file, new = by_path[more.path], {record.index: record for record in more.records}
        file.records[:] = [new.get(record.index, record) for record in file.records]
        file.outcomes.update(more.outcomes)


@contextmanager
def _bar(console: Console, what: str, total: int) -> Iterator[Any]:
    """Gives a function that says how many more are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def _mapping(said: Sequence[str]) -> dict[str, str]:
    mapping = {}
    for one in said:
        part, equals, field = one.rpartition("=")
        if not (part and equals and field):
            raise typer.BadParameter(f"--map {one!r} must be PART=FIELD, such as Question=prompt")
        mapping[part] = field
    return mapping


def _agrees(client: Client, into: pb.Datanet, files: Sequence[File]) -> bool:
    from openledger import signing

    assert client.wallet is not None
    count = sum(len(file.texts) for file in files)
    typer.echo(f'{client.wallet.account} signs: "{signing.STATEMENT}"', err=True)
    return typer.confirm(f"Give these {count} records to {into.name}, under {into.licence}?", err=True)
