"""`openledger datanet import`: gives the records of an export, or of a review, that are one's own.

Read twice, so that nothing is sent of a file that cannot be read to its end.  Run again, nothing is doubled.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli.connection import Json, run
from openledger.cli.datanet.datanets import Name, full_name
from openledger.datanet.v1 import datanet_pb2 as pb

if TYPE_CHECKING:
    from openledger.cli.giver import Outcome
    from openledger.snapshots.given import Given

Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="QUESTION=ANSWER",
        help="Those of which most reviewers answered so; can be given more than once.",
    ),
]


@dataclass
class Told:
    """What became of the records of a file."""

    datanet: str
    given: int = 0
    others: int = 0
    answered_otherwise: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

    def wanted(self, record: Given, me: str, only: Sequence[tuple[str, str]]) -> bool:
        """Whether it is to be given; counted."""
        if record.contributor not in ("", me):
            self.others += 1
        elif not all(record.is_answered(*pair) for pair in only):
            self.answered_otherwise += 1
        else:
            self.given += 1
            return True
        return False

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """What became of a part: what was refused by its reason, all else by its state."""
        from openledger.cli.giver import REFUSED, UNSENT, WAITING

        for outcome in outcomes:
            what = outcome.reason if outcome.state == REFUSED else outcome.state
            self.outcomes[what] += 1
            if outcome.state == REFUSED:
                self.reasons.setdefault(what, outcome.message)
            elif outcome.state == UNSENT:
                self.reasons.setdefault(what, f"{outcome.reason}, {outcome.message}")
            elif outcome.state == WAITING:
                self.waiting.append(outcome.record)

    def lines(self) -> Iterator[str]:
        """In words."""
        yield f"{self.given} records given to {self.datanet}"
        for what, count in sorted(self.outcomes.items()):
            yield f"  {count} {what}" + (f": {self.reasons[what]}" if what in self.reasons else "")
        if self.waiting:
            yield f"what waits needs your word: openledger datanet confirm --all {self.datanet}"
        if self.others:
            yield f"{self.others} left out: another's, who alone can declare them"
        if self.answered_otherwise:
            yield f"{self.answered_otherwise} left out: not answered so by most reviewers"

    @property
    def refused(self) -> int:
        """How many were not sent, or refused though nobody had given them before."""
        return sum(count for what, count in self.outcomes.items() if what in self.reasons and what != "DUPLICATE")


def import_(
    context: typer.Context,
    datanet: Name,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="An export's folder, or a .parquet, .jsonl, .json file.")
    ],
    only: Only = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Give the records of an export to a datanet, or those that reviewers in Argilla or Label Studio took.

    Yours alone: records that the file says are another's are left out.  What was given before, anywhere, stays as it
    is, so the same command goes on where it was broken off.

    Example: openledger datanet import rare-terms reviewed.json --only verdict=keep
    """
    pairs = [_pair(text) for text in only or ()]

    async def work() -> Told:
        from openledger.snapshots import given

        async with context.obj.client() as client:
            there = await client.call(client.datanet.GetDatanet, pb.GetDatanetRequest(name=full_name(datanet)))
            me, told, file = client.wallet.address, Told(there.name), given.find(path)
            count = sum(told.wanted(record, me, pairs) for record in given.read(file))
            if count and not yes:
                _confirm(count, there)
            again = Told(there.name)
            await _give(client, there, (r for r in given.read(file) if again.wanted(r, me, pairs)), told)
            return told

    told = run(work)
    if as_json:
        sys.stdout.write(json.dumps(vars(told), indent=2) + "\n")
    else:
        typer.echo("\n".join(told.lines()))
    if told.refused:
        raise typer.Exit(1)


async def _give(client: Any, datanet: pb.Datanet, records: Iterator[Given], told: Told) -> None:
    from openledger import giving
    from openledger.cli.giver import Giver

    giver = Giver(client, datanet, brings_back=True)
    for part in giving.parts(records):
        told.add(await giver.give(part))


def _confirm(count: int, datanet: pb.Datanet) -> None:
    from openledger import signing

    what = f"{count} records are to be given to {datanet.name} under {datanet.licence}, and declared as yours"
    typer.confirm(f'{what}: "{signing.STATEMENT}" Go on?', abort=True, err=True)


def _pair(text: str) -> tuple[str, str]:
    question, found, answer = text.partition("=")
    if not (question and found and answer):
        raise typer.BadParameter(f"{text!r} must be QUESTION=ANSWER", param_hint="--only")
    return question, answer
