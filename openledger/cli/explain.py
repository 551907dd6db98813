"""`openledger explain`: who is paid for an answer and why, what of it stands in whose records, and which it resembles.

Asks the Attribution service, which says to each caller what concerns it; computes nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, dump, run

if TYPE_CHECKING:
    from rich.console import Console

    from openledger.attribution.v1 import attribution_pb2 as pb

_PREFIXES = ("responses/", "receipts/")
_NAMELESS = 3
"""Records of a contributor that people see without a name; with one they see all."""


def explain(
    response: Annotated[str, typer.Argument(help="The answer: responses/<id>, receipts/<id>, or the id alone.")],
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for what is still being made.")] = 20.0,
    scorer: Annotated[str, typer.Option(help="By which records are ranked: see docs/records.md.")] = "",
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Say in words who is paid for an answer and why, what of it stands in whose records, and which it resembles.

    Ask as who paid, or as somebody who is paid.  Who is paid hears of records where the answer is published; a
    contributor is told its own by name then.

    Example: openledger explain responses/6f1c... --key keys/payer.key
    """
    from openledger.attribution.v1 import attribution_pb2 as pb

    request = pb.ExplainRequest(name=f"receipts/{_id(response)}", wait_seconds=wait, record_scorer=scorer)

    async def ask() -> pb.Explanation:
        async with Connection(data, first_port, key, tuple(at or ())).client() as client:
            answer: pb.Explanation = await client.call(client.attribution.Explain, request, wait + 30)
            return answer

    answer = run(ask)
    if as_json:
        dump(answer)
    else:
        show(answer)


def _id(text: str) -> str:
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return text


def show(told: pb.Explanation) -> None:
    """An explanation, for people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from openledger.money import format_open

    out = Console(highlight=False)
    for words in told.words:
        out.print(escape(words))
    shares = Table(Column("OPEN", justify="right", no_wrap=True), Column("to", overflow="fold"), "why", box=None)
    for share in told.shares:
        shares.add_row(format_open(int(share.amount), 9), escape(share.key), escape(share.words))
    out.print()
    out.print(shares)
    _show_spans(out, told)
    _show_records(out, told)


def _show_spans(out: Console, told: pb.Explanation) -> None:
    from rich.markup import escape
    from rich.table import Column, Table

    from openledger.attribution.v1 import attribution_pb2 as pb

    out.print(f"\n{escape(told.spans_words)}")
    if told.spans:
        spans = Table("tokens", "characters", "rarity", Column("in records of", overflow="fold"), box=None)
        for span in told.spans:
            has = span.HasField("start_character")
            characters = f"{span.start_character}-{span.end_character}" if has else ""
            sources = "\n".join(map(_source, span.sources))
            spans.add_row(f"{span.start_token}-{span.end_token}", characters, f"{span.rarity_bits} bits", sources)
        out.print(spans)
    elif told.spans_state == pb.SPANS_STATE_READY:
        out.print(f"[dim]None was found in the answer's {told.answer_tokens} tokens.[/dim]")


def _show_records(out: Console, told: pb.Explanation) -> None:
    from rich.markup import escape
    from rich.table import Column, Table

    out.print(f"\n{escape(told.records_words)}")
    if told.records:
        table = Table(Column("of", overflow="fold"), Column("rank", justify="right"), "score", "record", box=None)
        for best in told.records:
            whose = f"{best.contributor.removeprefix('accounts/')}, of {best.compared}"
            named = any(record.record for record in best.records)
            for record in best.records if named else best.records[:_NAMELESS]:
                error = f" ± {record.error:.3g}" if record.HasField("error") else ""
                table.add_row(escape(whose), str(record.rank), f"{record.score:.3g}{error}", escape(record.record))
                whose = ""
        out.print(table)
        if not any(record.record for best in told.records for record in best.records):
            out.print("[dim]Names of records are told to their contributor alone.[/dim]")


def _source(source: pb.SpanSource) -> str:
    from rich.markup import escape

    records = f"{source.record_count} record{'s' * (source.record_count > 1)}"
    times = f"{source.occurrences} time{'s' * (source.occurrences > 1)}"
    words = f"{source.contributor.removeprefix('accounts/')}: {records}, {times}"
    return escape("\n  ".join([words, *source.records]))
