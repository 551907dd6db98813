"""What `openledger contribute` shows: files before they are sent, and what became of them, as table or document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from openledger.cli.giver import ACCEPTED, STATES, WAITING
from openledger.datanet.v1 import datanet_pb2 as pb

if TYPE_CHECKING:
    from rich.console import Console

    from openledger.cli.giver import Outcome
    from openledger.cli.uploads import File

_SHOWN_RECORDS, _SHOWN_PROBLEMS, _SHOWN_CHARS, _SHOWN_ROWS = 2, 10, 160, 50


def preview(files: Sequence[File], console: Console) -> None:
    """How many records of each file, the first ones, and what could not be read."""
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


def count(files: Sequence[File]) -> Counter[str]:
    """How many records are in each state."""
    return Counter(outcome.state for file in files for outcome in file.outcomes.values())


def tell(datanet: str, files: Sequence[File]) -> None:
    """A row a file, then one for each record that was not accepted."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    console = Console(highlight=False)
    table = Table("file", *(Column(name, justify="right") for name in (*STATES, "unread")), box=None)
    for file in files:
        states = count([file])
        table.add_row(escape(str(file.path)), *(str(states[s]) for s in STATES), str(len(file.problems)))
    console.print(table)
    rows = [(file, *row) for file in files for row in _rows(file)]
    told = Table(Column("where", overflow="fold"), "what", Column("why, and what to do", overflow="fold"), box=None)
    for file, place, what, why in rows[:_SHOWN_ROWS]:
        told.add_row(escape(f"{file.path.name} {place}".strip()), what, escape(why))
    if rows:
        console.print(told)
    if len(rows) > _SHOWN_ROWS:
        console.print(f"and {len(rows) - _SHOWN_ROWS} more: --json has all")
    if wait := count(files)[WAITING]:
        console.print(f"{wait} wait for your word: openledger datanet confirm --all {datanet}", soft_wrap=True)


def _rows(file: File) -> Iterator[tuple[str, str, str]]:
    """Place, reason and words of all that was not accepted."""
    for problem in file.problems:
        yield problem.place, problem.reason, problem.message
    for record in file.texts:
        outcome = file.outcomes.get(record.index)
        if outcome is not None and outcome.state != ACCEPTED:
            name = f"{outcome.record} waits: " if outcome.state == WAITING else ""
            yield record.place, outcome.reason, name + outcome.message


def document(datanet: str, files: Sequence[File]) -> dict[str, Any]:
    """All of it, as it is written as JSON."""
    states = count(files)
    return {
        "datanet": datanet,
        **{state: states[state] for state in STATES},
        "files": [
            {
                "path": str(file.path),
                "media_type": file.about.media_type,
                "encoding": file.about.encoding,
                "mapping": dict(file.about.mapping),
                "problems": [{"place": p.place, "reason": p.reason, "message": p.message} for p in file.problems],
                "records": [_record(record, file.outcomes) for record in file.texts],
            }
            for file in files
        ],
    }


def _record(record: pb.ParsedRecord, outcomes: Mapping[int, Outcome]) -> dict[str, Any]:
    said: dict[str, Any] = {"place": record.place, "source": record.source, "fields": dict(record.fields)}
    if outcome := outcomes.get(record.index):
        said |= {"state": outcome.state, "record": outcome.record}
        said |= {"reason": outcome.reason, "message": outcome.message}
        said["suggested_fields"] = dict(outcome.suggested)
    return said
