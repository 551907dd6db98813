"""`openledger datanet withdraw, erase`: end the use of records, or have them destroyed."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict

from openledger.cli.connection import Json, run
from openledger.datanet.v1 import datanet_pb2 as pb

_AT_ONCE, _WAIT = 8, 600.0

Records = Annotated[list[str], typer.Argument(metavar="RECORD...", help="datanets/<id>/records/<record>.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept by the Datanet.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def withdraw(
    context: typer.Context, record: Records, reason: Reason = "", yes: Yes = False, as_json: Json = False
) -> None:
    """End the use of records: they are in no later snapshot.  What was made of them stays, and so do they.

    Example: openledger datanet withdraw datanets/rare-terms/records/0f3a...
    """
    _confirm(record, "withdrawn: no later snapshot has them, and there is no way back", yes=yes)

    async def one(client: Any, name: str) -> dict[str, Any]:
        request = pb.WithdrawRecordRequest(name=name, reason=reason, request_id=str(uuid.uuid4()))
        await client.call(client.datanet.WithdrawRecord, request)
        return {"record": name, "state": "withdrawn"}

    _say(context, record, one, as_json=as_json)


def erase(
    context: typer.Context, record: Records, reason: Reason = "", yes: Yes = False, as_json: Json = False
) -> None:
    """Destroy records: what they say, their keys and salts, and all that was derived from them.  Wait until it is done.

    Their commitments stay in old trees and say nothing any more.  Models that were trained on them are flagged, and
    named here.  Erase your own, or those of your datanet on a demand that --reason tells.

    Example: openledger datanet erase datanets/rare-terms/records/0f3a...
    """
    _confirm(record, "destroyed for good: nobody can bring back what they say, or prove it", yes=yes)

    async def one(client: Any, name: str) -> dict[str, Any]:
        erased = await _erased(client, pb.EraseRecordRequest(name=name, reason=reason, request_id=str(uuid.uuid4())))
        told: dict[str, Any] = MessageToDict(
            erased, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return told | {"state": "erased"}

    _say(context, record, one, as_json=as_json)


async def _erased(client: Any, request: pb.EraseRecordRequest) -> pb.ErasedRecord:
    """At its end, also where it was begun before, by whomever.  Raises `ApiError`, `TimeoutError`."""
    from google.longrunning import operations_pb2

    from openledger.client import ApiError

    try:
        operation = await client.call(client.datanet.EraseRecord, request)
    except ApiError as error:
        if error.reason != "RECORD_ERASED":
            raise
        operation = operations_pb2.Operation(name=error.metadata["operation"])
    try:
        return await client.wait("datanet", operation, pb.ErasedRecord, _WAIT)  # type: ignore[no-any-return]
    except ApiError as error:
        if error.reason != "OPERATION_NOT_FOUND":
            raise
    record = await client.call(client.datanet.GetRecord, pb.GetRecordRequest(name=request.name))
    return pb.ErasedRecord(record=record.name, adapter_revisions=record.adapter_revisions)  # somebody else began it


def _confirm(records: list[str], what: str, *, yes: bool) -> None:
    if not yes:
        count = f"{len(records)} records are" if len(records) > 1 else f"{records[0]} is"
        typer.confirm(f"{count} to be {what}. Go on?", abort=True, err=True)


def _say(context: typer.Context, records: list[str], one: Any, *, as_json: bool) -> None:
    """What became of each; one that is refused keeps none of the others from it, and makes the exit status 1."""
    from openledger.client import ApiError

    async def work() -> list[dict[str, Any]]:
        room = asyncio.Semaphore(_AT_ONCE)

        async def tried(client: Any, name: str) -> dict[str, Any]:
            async with room:
                try:
                    return await one(client, name)  # type: ignore[no-any-return]
                except ApiError as error:
                    return {"record": name, "error": str(error)}
                except TimeoutError as error:
                    more = "It goes on without you: run the command again to wait for its end"
                    return {"record": name, "error": f"{error}. {more}"}

        async with context.obj.client() as client:
            return await asyncio.gather(*(tried(client, name) for name in records))

    found = run(work)
    if as_json:
        sys.stdout.write(json.dumps({"records": found}, indent=2) + "\n")
    else:
        for told in found:
            typer.echo(f"{told['record']}  {told.get('state') or told['error']}")
            for revision in told.get("adapter_revisions", ()):
                typer.echo(f"  {revision} was trained on it, and is flagged")
    if any("error" in told for told in found):
        raise typer.Exit(1)
