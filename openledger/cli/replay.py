"""`openledger replay`: have answers generated again, and compare each token by token with what was answered.

The service generates and compares; what it compared with is in the trace, which its payer and the artifacts have.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from google.protobuf.json_format import MessageToDict

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openledger.openlora.v1 import openlora_pb2 as pb

_SECONDS = 330.0
"""As long as the service may wait for, and take over, the longest answer."""


def replay(
    responses: Annotated[
        list[str], typer.Argument(help="The answers: responses/<id>, the id alone, or a file with the trace.")
    ],
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Have answers of temperature 0 generated again, and say where they differ: exit status 1 if one does.

    Ask as who paid, or as an operator; it is free, and done once for each answer.

    Example: openledger replay responses/6f1c... --key keys/payer.key
    """
    from openledger.openlora.v1 import openlora_pb2 as pb

    async def ask() -> list[pb.Replay]:
        async with Connection(data, first_port, key, tuple(at or ()), makes_key=False).client() as client:
            requests = [pb.ReplayAnswerRequest(name=_name(response)) for response in responses]
            # One after the other: the service generates one at a time.
            return [await client.call(client.openlora.ReplayAnswer, request, _SECONDS) for request in requests]

    told = run(ask)
    if as_json:
        answers = [MessageToDict(one, always_print_fields_with_no_presence=True) for one in told]
        sys.stdout.write(json.dumps({"replays": answers, "rate": rate(told)}) + "\n")
    else:
        show(told)
    raise typer.Exit(int(any(one.matched < one.tokens for one in told)))


def _name(text: str) -> str:
    from openledger.trace import parse

    if Path(text).is_file():
        return parse(Path(text).read_bytes()).response
    return f"responses/{text.removeprefix('responses/')}"


def rate(told: Sequence[pb.Replay]) -> float:
    """What part of the answers' tokens came again; 1 where there were none."""
    tokens = sum(one.tokens for one in told)
    return sum(one.matched for one in told) / tokens if tokens else 1.0


def show(told: Sequence[pb.Replay]) -> None:
    """What came of it, for people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    out = Console(highlight=False)
    table = Table(Column("answer", overflow="fold"), "tokens", "the same", "engine then", "engine now", box=None)
    for one in told:
        same = "all" if one.matched == one.tokens else f"to token {one.first_difference}"
        table.add_row(*map(escape, (one.response, str(one.tokens), same, one.engine_then, one.engine_now)))
    out.print(table)
    out.print(f"\n{rate(told):.2%} of the tokens came again.")
