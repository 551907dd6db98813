"""`openledger forget-answers`: have what one was answered made unreadable for ever, everywhere that it is kept."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPENLORA = "openlora="


def forget_answers(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Make unreadable for ever all questions that you have paid for up to now, and their answers.

    What they cost and whom they pay stays, and can be checked; that a receipt measures what was answered can not be any
    more, by nobody.  What you had published, or gave away, stays where it is.  Of several OpenLoRAs name each:
    --at openlora=... more than once.

    Example: openledger forget-answers --key keys/payer.key
    """
    if not yes:
        typer.confirm("All questions that this key has paid for, and their answers, for ever?", abort=True)
    others = [where for where in at or () if not where.startswith(_OPENLORA)]
    replicas = [[where] for where in at or () if where.startswith(_OPENLORA)] or [[]]
    connections = [Connection(data, first_port, key, (*others, *one), makes_key=False) for one in replicas]
    before = run(lambda: _forget(connections))
    if as_json:
        sys.stdout.write(json.dumps({"forgotten_before": before}) + "\n")
    else:
        typer.echo(f"What you were answered up to {before} is unreadable: at OpenLoRA once everything is attributed.")


async def _forget(connections: Sequence[Connection]) -> str:
    """Each OpenLoRA first, so that Attribution is given nothing that it was not told to forget."""
    from openledger.attribution.v1 import attribution_pb2
    from openledger.openlora.v1 import openlora_pb2

    moments = []
    for connection in connections:
        async with connection.client() as client:
            request = openlora_pb2.ForgetAnswersRequest()
            moments.append((await client.call(client.openlora.ForgetAnswers, request)).forget_time)
    latest = max(moments, key=lambda moment: (moment.seconds, moment.nanos))
    async with connections[0].client() as client:
        forgotten = attribution_pb2.ForgetAnswersRequest(before_time=latest)
        done = await client.call(client.attribution.ForgetAnswers, forgotten)
    text: str = done.before_time.ToJsonString()
    return text
