"""`openledger replay`: have answers generated again, and compare each token by token with what was answered.

The service generates and compares; what it compared with is in the trace, which its payer and the artifacts have.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from google.protobuf.json_format import MessageToDict

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from openledger.openlora.v1 import openlora_pb2 as pb

T = TypeVar("T")

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
    """Have answers of temperature 0 generated again, and say where they differ.

    Ask as who paid, or as an operator; it is free, and done once for each answer.  Exit status 1: one differs; 2: one
    could not be compared.

    Example: openledger replay responses/6f1c... --key keys/payer.key
    """
    told, refused = _run(lambda: _ask(Connection(data, first_port, key, tuple(at or ()), makes_key=False), responses))
    if as_json:
        answers = [MessageToDict(one, always_print_fields_with_no_presence=True) for one in told]
        sys.stdout.write(json.dumps({"replays": answers, "refused": refused, "rate": rate(told)}) + "\n")
    else:
        show(told, refused)
    raise typer.Exit(1 if any(one.matched < one.tokens for one in told) else 2 if refused else 0)


async def _ask(connection: Connection, responses: Sequence[str]) -> tuple[list[pb.Replay], dict[str, str]]:
    """How each compares, and why some do not: by name."""
    from openledger.client import ApiError
    from openledger.openlora.v1 import openlora_pb2 as pb

    told, refused = [], {}
    async with connection.client() as client:
        for name in map(_name, responses):  # one after the other: the service generates one at a time
            try:
                request = pb.ReplayAnswerRequest(name=name)
                told.append(await client.call(client.openlora.ReplayAnswer, request, _SECONDS))
            except ApiError as error:
                if error.reason == "UNREACHABLE":
                    raise
                refused[name] = str(error)
    return told, refused


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return run(work)
    except typer.Exit as stop:
        raise typer.Exit(2 if stop.exit_code == 1 else stop.exit_code) from None


def _name(text: str) -> str:
    from openledger.trace import parse

    if Path(text).is_file():
        return parse(Path(text).read_bytes()).response
    return f"responses/{text.removeprefix('responses/')}"


def rate(told: Sequence[pb.Replay]) -> float:
    """What part of the answers' tokens came again; 1 where there were none."""
    tokens = sum(one.tokens for one in told)
    return sum(one.matched for one in told) / tokens if tokens else 1.0


def show(told: Sequence[pb.Replay], refused: Mapping[str, str]) -> None:
    """What came of it, for people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    out = Console(highlight=False)
    table = Table(Column("answer", overflow="fold"), "tokens", "the same", "engine then", "engine now", box=None)
    for one in told:
        same = "all" if one.matched == one.tokens else f"to token {one.first_difference}"
        table.add_row(*map(escape, (one.response, str(one.tokens), same, one.engine_then, one.engine_now)))
    if told:
        out.print(table)
        out.print(f"\n{rate(told):.2%} of the tokens came again.")
    for name, why in refused.items():
        out.print(escape(f"{name} cannot be compared. {why}"))
