"""`openledger forget-answers`: have what one was answered made unreadable for ever, everywhere that it is kept."""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPENLORA = "openlora="


@dataclass(frozen=True)
class _OpenLoRA:
    """One of them, with a client of it.  `log`: which log of traces it has, which no other one has."""

    client: Any
    at: str
    replica: str
    log: str

    def __str__(self) -> str:
        """For people."""
        return f"OpenLoRA {self.replica}{' ' * bool(self.replica)}at {self.at}"


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
    more, by nobody.  What you had published, or gave away, stays where it is, and so does what was answered before
    OpenLoRA sealed its traces.  Of several OpenLoRAs name each: --at openlora=... more than once.

    Example: openledger forget-answers --key keys/payer.key
    """
    if not yes:
        typer.confirm("All questions that this key has paid for, and their answers, for ever?", abort=True)
    others = [where for where in at or () if not where.startswith(_OPENLORA)]
    replicas = [[where] for where in at or () if where.startswith(_OPENLORA)] or [[]]
    connections = [Connection(data, first_port, key, (*others, *one), makes_key=False) for one in replicas]
    before, told = run(lambda: _forget(connections))
    if as_json:
        openlora = [{"at": each.at, "replica": each.replica} for each in told]
        sys.stdout.write(json.dumps({"forgotten_before": before, "openlora": openlora}) + "\n")
    else:
        typer.echo(
            f"What you were answered up to {before} is unreadable at Attribution, and once everything is attributed"
        )
        typer.echo(f"also at {_named(told)}. Any other OpenLoRA was not told.")


async def _forget(connections: Sequence[Connection]) -> tuple[str, Sequence[_OpenLoRA]]:
    """Each OpenLoRA first, so that Attribution is given nothing that it was not told to forget.

    Up to when, and who was told.  Raises `ApiError` where nobody was told, `RuntimeError` that names who was where not
    all were, `ValueError` where two addresses lead to one OpenLoRA: another one may have been meant.
    """
    from openledger.attribution.v1 import attribution_pb2
    from openledger.client import ApiError
    from openledger.openlora.v1 import openlora_pb2

    told: list[_OpenLoRA] = []
    async with AsyncExitStack() as stack:
        replicas = [await _met(await stack.enter_async_context(each.client())) for each in connections]
        _must_differ(replicas)
        moments = []
        try:
            for each in replicas:
                request = openlora_pb2.ForgetAnswersRequest()
                moments.append((await each.client.call(each.client.openlora.ForgetAnswers, request)).forget_time)
                told.append(each)
            latest = max(moments, key=lambda moment: (moment.seconds, moment.nanos))
            forgotten, client = attribution_pb2.ForgetAnswersRequest(before_time=latest), replicas[0].client
            before: str = (await client.call(client.attribution.ForgetAnswers, forgotten)).before_time.ToJsonString()
        except ApiError as error:
            if not told:
                raise
            untold = "".join(f"{each}, " for each in replicas[len(told) :]) + "Attribution"
            words = (
                f"{error}\nTold was {_named(told)}; not told: {untold}. Say it again: who was told is told once more"
            )
            raise RuntimeError(words) from error
    return before, told


async def _met(client: Any) -> _OpenLoRA:
    from openledger.openlora.v1 import openlora_pb2

    found = await client.call(client.openlora.GetReplica, openlora_pb2.GetReplicaRequest())
    return _OpenLoRA(client, client.endpoints.openlora, found.name, found.log_epoch)


def _must_differ(replicas: Sequence[_OpenLoRA]) -> None:
    known: dict[str, _OpenLoRA] = {}
    for each in replicas:
        if each.log in known:
            raise ValueError(
                f"{known[each.log].at} and {each.at} lead to one OpenLoRA: name each once. Nobody was told"
            )
        known[each.log] = each


def _named(told: Sequence[_OpenLoRA]) -> str:
    return ", ".join(map(str, told))
