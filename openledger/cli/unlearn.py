"""`openledger unlearn`: leave a contributor out of models: what it has in them, what that changes, what replaces them.

Asks the Factory for what was trained and Attribution for what was paid, and puts both together.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict

from openledger.attribution.v1 import attribution_pb2
from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run
from openledger.cli.finetune import show
from openledger.cli.finetune.asking import Watch, asking, follow_to_its_end, shown
from openledger.factory.v1 import factory_pb2 as pb
from openledger.money import format_open

app = typer.Typer(no_args_is_help=True)

Contributor = Annotated[str, typer.Argument(help="accounts/0x..., or the address alone.")]
Revision = Annotated[str, typer.Argument(help="adapters/<adapter>/revisions/<digest>")]


@dataclass
class Paid:
    """What a contributor has of a model's answers.  Amounts in atomic units, scores in nats per token."""

    answers: int = 0
    paid_answers: int = 0
    amount: int = 0
    records_amount: int = 0
    contributors_amount: int = 0
    fees: int = 0
    score: float = 0.0
    positive_scores: float = 0.0

    def add(self, page: attribution_pb2.SumContributionResponse) -> None:
        """The next receipts."""
        for name, kind in Paid.__annotations__.items():
            value = getattr(page, name)
            more = float(value) if kind == "float" else int(value or 0)  # an older Attribution leaves some out
            setattr(self, name, getattr(self, name) + more)

    def to_json(self) -> dict[str, Any]:
        """Amounts as decimal strings."""
        exact = ("amount", "records_amount", "contributors_amount", "fees")
        return {name: str(value) if name in exact else value for name, value in vars(self).items()}


@app.callback()
def connect(
    context: typer.Context,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
) -> None:
    """Leave a contributor out of models that were trained on its records.

    Example: openledger unlearn report 0x114d...9dc9
    """
    context.obj = Connection(data, first_port, key, tuple(at or ()))


@app.command()
def report(
    context: typer.Context,
    contributor: Contributor,
    revision: Annotated[str, typer.Option("--revision", help="Of this one alone; default: of all.")] = "",
    as_json: Json = False,
) -> None:
    """Say which revisions a contributor trained, what it has of their answers' money, and what leaving it out changes.

    Example: openledger unlearn report 0x114d...9dc9 --json
    """
    account = contributor if contributor.startswith("accounts/") else f"accounts/{contributor.lower()}"

    async def ask() -> list[tuple[pb.UnlearningReport, Paid | None]]:
        found = []
        async with context.obj.client() as client:
            async for name in _revisions(client, account, revision):
                request = pb.GetUnlearningReportRequest(revision=name, contributor=account)
                told = await client.call(client.factory.GetUnlearningReport, request)
                found.append((told, await _paid(client, name, account)))
        return found

    found = run(ask)
    if as_json:
        rows = [_row(told) | {"paid": paid.to_json() if paid is not None else None} for told, paid in found]
        sys.stdout.write(json.dumps({"contributor": account, "revisions": rows}, indent=2) + "\n")
        return
    if not found:
        typer.echo(f"No published revision was trained on records of {account}.")
    for told, paid in found:
        show.console().print(f"[bold]{told.revision}[/bold]")
        for sentence in (*told.words, _words(paid)):
            typer.echo(f"  {sentence}")
        for made in told.replacements:
            typer.echo(f"  replacement: {made.revision or made.fine_tune}, without {', '.join(made.without)}")


@app.command()
def replace(
    context: typer.Context,
    revision: Revision,
    without: Annotated[list[str], typer.Option("--without", help="accounts/0x..., one option each.")],
    audited: Annotated[bool, typer.Option("--audited", help="Repeat its trainings again as well.")] = False,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Take a revision's run again without contributors; then publish it, and deprecate the old one when you say so.

    Example: openledger unlearn replace adapters/herbs/revisions/8ea7... --without accounts/0x114d...9dc9 --watch
    """
    from openledger.client import request_id

    accounts = [who if who.startswith("accounts/") else f"accounts/{who.lower()}" for who in without]
    request = pb.CreateReplacementRequest(revision=revision, without=accounts, audited=audited, request_id=request_id())
    job = asking(context, "CreateReplacement", request)
    if watch:
        follow_to_its_end(context, job.name, as_json=as_json)
    else:
        shown(job, show.fine_tune, as_json=as_json)


async def _revisions(client: Any, account: str, alone: str) -> AsyncIterator[str]:
    """Published ones, retired ones too, that were trained on a contributor's records; how many are seen, on stderr."""
    if alone:
        yield alone
        return
    token, seen = "", 0
    while True:
        request = pb.ListAdapterRevisionsRequest(parent="adapters/-", show_retired=True, page_token=token)
        page = await client.call(client.factory.ListAdapterRevisions, request)
        for made in page.adapter_revisions:
            seen += 1
            if account.removeprefix("accounts/") in made.contributors:
                _progress(f"revision {seen}: {made.name}")
                yield made.name
        token = page.next_page_token
        if not token:
            return


async def _paid(client: Any, revision: str, account: str) -> Paid | None:
    """None where the caller may not know it, or Attribution is not there to say."""
    from openledger.client import ApiError

    paid, after = Paid(), 0
    while True:
        request = attribution_pb2.SumContributionRequest(revision=revision, contributor=account, after_offset=after)
        try:
            page = await client.call(client.attribution.SumContribution, request)
        except ApiError as error:
            if error.reason in {"NOT_YOURS", "REVISION_NOT_FOUND", "UNREACHABLE"}:
                return None
            raise
        paid.add(page)
        if page.through_offset >= page.high_watermark or page.through_offset == after:
            return paid
        after = page.through_offset
        _progress(f"{after} of {page.high_watermark} receipts")


def _progress(words: str) -> None:
    """For people who wait."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2K{words}")


def _row(told: pb.UnlearningReport) -> dict[str, Any]:
    return MessageToDict(told, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _words(paid: Paid | None) -> str:
    if paid is None:
        return "What it was paid is told to it and to the model's developer, where Attribution can be asked."
    if not paid.answers:
        return "The model has no answers yet, so nothing was paid."
    part = paid.amount / paid.contributors_amount if paid.contributors_amount else 0.0
    score = paid.score / paid.positive_scores if paid.positive_scores else 0.0
    records = (
        f" and {format_open(paid.records_amount)} OPEN for records before questions" if paid.records_amount else ""
    )
    return (
        f"Of {paid.answers} answers it was paid for {paid.paid_answers}: {format_open(paid.amount)} OPEN, {part:.1%} "
        f"of what contributors got for what the model learnt{records}; its scores are {score:.1%} of all that are "
        "above zero.  Shares for what it learnt are provisional."
    )
