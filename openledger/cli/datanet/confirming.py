"""`openledger datanet confirm`: a contributor's word on a record of its own in which personal data was found."""

from __future__ import annotations

import sys
import uuid
from typing import Annotated, Any

import typer

from openledger import names, records
from openledger.cli.connection import Json, dump, run
from openledger.datanet.v1 import datanet_pb2 as pb


def confirm(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="RECORD", help="datanets/<datanet>/records/<record>, which waits.")],
    masked: Annotated[
        bool, typer.Option("--masked", help="Have it taken as suggested, without what was found.")
    ] = False,
    as_given: Annotated[bool, typer.Option("--as-given", help="Have it taken with all that it says.")] = False,
    erase: Annotated[bool, typer.Option("--erase", help="Have it destroyed.")] = False,
    as_json: Json = False,
) -> None:
    """Say what becomes of a record of yours that waits; without an option, see what was found and what is suggested.

    As suggested it is another record, whose name is told; what you gave is destroyed then.

    Example: openledger datanet confirm datanets/rare-terms/records/0f3a... --masked
    """
    if masked + as_given + erase > 1:
        raise typer.BadParameter("--masked, --as-given, --erase: one of them")

    async def work() -> pb.Record:
        async with context.obj.client() as client:
            record: pb.Record = await client.call(client.datanet.GetRecord, pb.GetRecordRequest(name=name))
            if not masked and not as_given and not erase:
                return record
            request = pb.ConfirmRecordRequest(
                name=name, confirmed=not erase, masked=masked, request_id=str(uuid.uuid4())
            )
            if not erase:
                request.declaration.CopyFrom(await _declared(client, record, masked, request.request_id))
            answer: pb.Record = await client.call(client.datanet.ConfirmRecord, request)
            return answer

    told = run(work)
    if as_json:
        dump(told)
        return
    sys.stdout.write(f"{told.name}  {pb.RecordState.Name(told.state).removeprefix('RECORD_STATE_').lower()}\n")
    for check in told.checks:
        if not check.passed:
            sys.stdout.write(f"  {check.reason}: {check.message}\n")
    for field, text in told.suggested_fields.items():
        sys.stdout.write(f"  suggested {field}: {text}\n")


async def _declared(client: Any, record: pb.Record, masked: bool, request_id: str) -> pb.Declaration:
    from openledger.giving import declared

    (datanet, _) = names.match("datanets/*/records/*", record.name)
    request = pb.GetDatanetRequest(name=f"datanets/{datanet}")
    into: pb.Datanet = await client.call(client.datanet.GetDatanet, request)
    fields = dict(record.suggested_fields if masked else record.fields)
    root = records.content_root([records.canonical_bytes(client.wallet.address, fields, record.source)])
    return declared(client.wallet, into, root, 1, request_id)
