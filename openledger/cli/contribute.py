"""`openledger contribute`: files into a datanet: looked at first, signed for, and what became of each record told."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run
from openledger.cli.datanet.datanets import full_name
from openledger.datanet.v1 import datanet_pb2 as pb

if TYPE_CHECKING:
    from rich.console import Console

    from openledger.cli.uploads import File
    from openledger.client import ApiError, Client

_SHOWN_RECORDS, _SHOWN_PROBLEMS, _SHOWN_CHARS, _SHOWN_ROWS = 2, 10, 160, 50
_STATES = {
    pb.RECORD_STATE_ACCEPTED: "accepted",
    pb.RECORD_STATE_SCREENED: "waiting",
    pb.RECORD_STATE_REJECTED: "refused",
}


def contribute(
    datanet: Annotated[str, typer.Argument(metavar="DATANET", help="Its id, or datanets/<id>.")],
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="JSONL, CSV, Markdown, TXT, PDF, DOCX; or folders of them.")
    ],
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="PART=FIELD, such as Question=prompt: of a column, or of paragraph, section, page."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Sign and send without being asked.")] = False,
    masked: Annotated[
        bool, typer.Option("--masked", help="Sign and send as suggested what is refused for personal data in it.")
    ] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would be sent.")] = False,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Give what is in files to a datanet.  It is shown first; what you sign for, and under which licence, is said.

    Broken off, it is simply run again: what was taken is known, and not taken twice.  The exit status is 1 when nothing
    was taken.

    Example: openledger contribute rare-terms terms.csv notes/ --map Meaning=text

    Example: openledger contribute rare-terms terms.jsonl --yes --json > outcomes.json
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)

    async def work() -> list[File]:
        async with Connection(data, first_port, key, tuple(at or ())).client() as client:
            request = pb.GetDatanetRequest(name=full_name(datanet))
            into: pb.Datanet = await client.call(client.datanet.GetDatanet, request)
            files = await _read(client, into, paths, _mapping(mapping or ()), console)
            _preview(files, console)
            if preview or not any(file.texts for file in files):
                return files
            if not yes and not _agrees(into, files):
                return files
            await _give(client, into, files, console)
            if masked:
                await _give_masked(client, into, files, console, ask=not yes)
            return files

    files = run(work)
    if as_json:
        sys.stdout.write(json.dumps(_document(full_name(datanet), files), indent=2, ensure_ascii=False) + "\n")
    elif not preview:
        _tell(files)
    if not preview and not any(_count(files)[state] for state in ("accepted", "waiting")):
        raise typer.Exit(1)


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


async def _give(client: Client, into: pb.Datanet, files: Sequence[File], console: Console) -> None:
    from openledger import giving
    from openledger.client import ApiError

    wallet = client.wallet
    assert wallet is not None
    stopped: ApiError | None = None
    with _bar(console, "sending", sum(len(file.texts) for file in files)) as advance:
        for file in files:
            for part in giving.parts(file.texts):
                try:
                    if stopped is not None:
                        raise stopped
                    answer = await giving.sent(client, wallet, into, part)
                except ApiError as error:
                    # What became of the others must be told; of most errors the next part would have the same.
                    stopped = None if error.reason == "REQUEST_ID_REUSED" else error
                    answer = _not_sent(len(part), error)
                file.outcomes.update((part[o.index].index, o) for o in answer.outcomes)
                advance(len(part))


def _not_sent(count: int, error: ApiError) -> pb.ContributeRecordsResponse:
    said: dict[str, Any] = {"state": pb.RECORD_STATE_REJECTED, "reason": error.reason, "message": error.message}
    return pb.ContributeRecordsResponse(outcomes=[pb.RecordOutcome(index=index, **said) for index in range(count)])


async def _give_masked(client: Client, into: pb.Datanet, files: Sequence[File], console: Console, *, ask: bool) -> None:
    """Once more, as suggested, what was refused with a suggestion."""
    from openledger.cli import uploads

    again = [uploads.File(file.path) for file in files]
    for file, more in zip(files, again, strict=True):
        for record in file.texts:
            outcome = file.outcomes[record.index]
            if outcome.suggested_fields and outcome.state == pb.RECORD_STATE_REJECTED:
                record.fields.clear()
                record.fields.update(outcome.suggested_fields)
                more.records.append(record)
    again_some = [more for more in again if more.records]
    if not again_some:
        return
    _preview(again_some, console)
    if ask and not _agrees(into, again_some):
        return
    await _give(client, into, again_some, console)
    for file, more in zip(files, again, strict=True):
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
    """Raises `ValueError`."""
    mapping = {}
    for one in said:
        part, equals, field = one.rpartition("=")
        if not (part and equals and field):
            raise ValueError(f"--map {one!r} must be PART=FIELD, such as Question=prompt")
        mapping[part] = field
    return mapping


def _preview(files: Sequence[File], console: Console) -> None:
    from rich.markup import escape

    for file in files:
        used = ", ".join(f"{part} is {field}" for part, field in file.about.mapping.items())
        head = f"[bold]{escape(str(file.path))}[/bold]  {len(file.texts)} records"
        console.print(f"{head}; {escape(used)}" if used else head, soft_wrap=True)
        for record in file.texts[:_SHOWN_RECORDS]:
            for name, text in record.fields.items():
                cut = " ".join(text.split())[:_SHOWN_CHARS]
                console.print(f"  [dim]{escape(record.place)}[/dim]  {escape(name)}: {escape(cut)}", soft_wrap=True)
        if len(file.texts) > _SHOWN_RECORDS:
            console.print(f"  [dim]and {len(file.texts) - _SHOWN_RECORDS} more[/dim]")
        for problem in file.problems[:_SHOWN_PROBLEMS]:
            where = escape(problem.place or "the file")
            console.print(f"  {where}: {problem.reason}, {escape(problem.message)}", soft_wrap=True)


def _agrees(into: pb.Datanet, files: Sequence[File]) -> bool:
    from openledger import signing

    count = sum(len(file.texts) for file in files)
    typer.echo(f'Your wallet signs: "{signing.STATEMENT}"', err=True)
    return typer.confirm(f"Give these {count} records to {into.name}, under {into.licence}?", err=True)


def _count(files: Sequence[File]) -> Counter[str]:
    return Counter(_STATES[o.state] for file in files for o in file.outcomes.values())


def _tell(files: Sequence[File]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    console = Console(highlight=False)
    counts = (Column(name, justify="right") for name in (*_STATES.values(), "unread"))
    table = Table("file", *counts, box=None)
    for file in files:
        count = _count([file])
        table.add_row(escape(str(file.path)), *(str(count[s]) for s in _STATES.values()), str(len(file.problems)))
    console.print(table)
    rows = [(file, *row) for file in files for row in _rows(file)]
    told = Table(Column("where", overflow="fold"), "what", Column("why, and what to do", overflow="fold"), box=None)
    for file, place, what, why in rows[:_SHOWN_ROWS]:
        told.add_row(escape(f"{file.path.name} {place}".strip()), what, escape(why))
    if rows:
        console.print(told)
    if len(rows) > _SHOWN_ROWS:
        console.print(f"and {len(rows) - _SHOWN_ROWS} more: --json has all")


def _rows(file: File) -> Iterator[tuple[str, str, str]]:
    """Place, reason and words of all that was not accepted, and what a contributor is asked of those that wait."""
    for problem in file.problems:
        yield problem.place, problem.reason, problem.message
    for record in file.texts:
        outcome = file.outcomes.get(record.index)
        if outcome is not None and outcome.state != pb.RECORD_STATE_ACCEPTED:
            waits = outcome.state == pb.RECORD_STATE_SCREENED
            name = f"{outcome.record} waits (openledger datanet confirm): " if waits else ""
            yield record.place, outcome.reason, name + outcome.message


def _document(datanet: str, files: Sequence[File]) -> dict[str, Any]:
    count = _count(files)
    return {
        "datanet": datanet,
        **{state: count[state] for state in _STATES.values()},
        "files": [
            {
                "path": str(file.path),
                "media_type": file.about.media_type,
                "encoding": file.about.encoding,
                "mapping": dict(file.about.mapping),
                "problems": [{"place": p.place, "reason": p.reason, "message": p.message} for p in file.problems],
                "records": [_record(record, file.outcomes.get(record.index)) for record in file.texts],
            }
            for file in files
        ],
    }


def _record(record: pb.ParsedRecord, outcome: pb.RecordOutcome | None) -> dict[str, Any]:
    said: dict[str, Any] = {"place": record.place, "source": record.source, "fields": dict(record.fields)}
    if outcome is not None:
        said |= {"state": _STATES[outcome.state], "record": outcome.record}
        said |= {"reason": outcome.reason, "message": outcome.message}
        said["suggested_fields"] = dict(outcome.suggested_fields)
    return said
