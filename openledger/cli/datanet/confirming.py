"""`openledger datanet confirm`: a contributor's word on records of its own in which personal data was found."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict

from openledger import names, records
from openledger.cli.connection import Json, run
from openledger.cli.datanet.datanets import full_name
from openledger.datanet.v1 import datanet_pb2 as pb

_PAGE, _AT_ONCE, _SHOWN_CHARS = 500, 8, 400
_SPACE = uuid.UUID("5b9d5f0c-0a2e-4c55-8d8a-2f2b7f0f6a1d")
"""In which request ids are made."""
_MASKED, _AS_GIVEN, _ERASE = "masked", "as given", "erase"
_ASKED = {
    _MASKED: "Have {count} taken as suggested, under {licences}, and destroyed for good as given?",
    _AS_GIVEN: "Have {count} taken with all that is in it, under {licences}?",
    _ERASE: "Have {count} destroyed for good?",
}


def confirm(
    context: typer.Context,
    record: Annotated[
        list[str] | None, typer.Argument(metavar="RECORD...", help="datanets/<datanet>/records/<record>, which waits.")
    ] = None,
    all_: Annotated[str, typer.Option("--all", metavar="DATANET", help="All of yours that wait in a datanet.")] = "",
    masked: Annotated[
        bool, typer.Option("--masked", help="Have it taken as suggested, without what was found.")
    ] = False,
    as_given: Annotated[bool, typer.Option("--as-given", help="Have it taken with all that it says.")] = False,
    erase: Annotated[bool, typer.Option("--erase", help="Have it destroyed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Say what becomes of records of yours that wait; without an option, see what was found and what is suggested.

    As suggested it is another record, whose name is told; what you gave is destroyed then.

    Example: openledger datanet confirm --all rare-terms

    Example: openledger datanet confirm datanets/rare-terms/records/0f3a... --masked
    """
    way = _way({_MASKED: masked, _AS_GIVEN: as_given, _ERASE: erase})
    if bool(record) == bool(all_):
        raise typer.BadParameter("name records, or a datanet by --all")

    async def work() -> list[dict[str, Any]]:
        async with context.obj.client() as client:
            found = [one async for one in (_waiting(client, full_name(all_)) if all_ else _named(client, record or []))]
            if not (as_json and not way):
                _show(found, err=bool(way))
            if not way or not found:
                return [_document(one) for one in found]
            into = await _datanets(client, found)
            if not yes:
                _ask(client.wallet, found, {datanet.licence for datanet in into.values()}, way)
            room = asyncio.Semaphore(_AT_ONCE)
            return await asyncio.gather(*(_said(client, one, into, way, room) for one in found))

    told = run(work)
    if as_json:
        sys.stdout.write(json.dumps({"records": told}, indent=2, ensure_ascii=False) + "\n")
    elif way:
        _tell(told)
    if any("error" in one for one in told):
        raise typer.Exit(1)


def _way(said: Mapping[str, bool]) -> str:
    """The one that was said; empty where none was."""
    ways = [way for way, is_said in said.items() if is_said]
    if len(ways) > 1:
        raise typer.BadParameter("--masked, --as-given, --erase: one of them")
    return ways[0] if ways else ""


def _tell(told: Sequence[Mapping[str, Any]]) -> None:
    for one in told:
        as_another = f", as suggested for {one['given']}" if one.get("given", one["name"]) != one["name"] else ""
        typer.echo(f"{one['name']}  {one.get('error') or _state(one['state']) + as_another}")


async def _named(client: Any, named: Sequence[str]) -> AsyncIterator[pb.Record]:
    for name in named:
        yield await client.call(client.datanet.GetRecord, pb.GetRecordRequest(name=name))


async def _waiting(client: Any, datanet: str) -> AsyncIterator[pb.Record]:
    request = pb.ListRecordsRequest(parent=datanet, page_size=_PAGE, contributor=client.wallet.account)
    while True:
        page: pb.ListRecordsResponse = await client.call(client.datanet.ListRecords, request)
        for record in page.records:
            if record.state == pb.RECORD_STATE_SCREENED:
                yield record
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def _datanets(client: Any, found: Sequence[pb.Record]) -> dict[str, pb.Datanet]:
    named = {_datanet_of(record) for record in found}
    return {name: await client.call(client.datanet.GetDatanet, pb.GetDatanetRequest(name=name)) for name in named}


def _datanet_of(record: pb.Record) -> str:
    return f"datanets/{names.match('datanets/*/records/*', record.name)[0]}"


def _ask(wallet: Any, found: Sequence[pb.Record], licences: set[str], way: str) -> None:
    from openledger import signing

    if way != _ERASE:
        typer.echo(f'{wallet.account} signs: "{signing.STATEMENT}"', err=True)
    count = f"these {len(found)} records" if len(found) > 1 else found[0].name
    typer.confirm(_ASKED[way].format(count=count, licences=", ".join(sorted(licences))), abort=True, err=True)


async def _said(
    client: Any, record: pb.Record, into: dict[str, pb.Datanet], way: str, room: asyncio.Semaphore
) -> dict[str, Any]:
    """The record as it is taken, or what keeps it from that."""
    from openledger import giving
    from openledger.client import ApiError

    request = _request(client.wallet, record, into[_datanet_of(record)], way)
    async with room:
        try:
            answer = await giving.again(lambda: client.call(client.datanet.ConfirmRecord, request))
        except ApiError as error:
            return {"name": record.name, "error": str(error)}
    return _document(answer) | {"given": record.name}


def _request(wallet: Any, record: pb.Record, into: pb.Datanet, way: str) -> pb.ConfirmRecordRequest:
    """The same word on the same record is the same request, whenever it is said."""
    from openledger.giving import declared

    fields = dict(record.suggested_fields if way == _MASKED else record.fields)
    root = records.content_root([records.canonical_bytes(wallet.address, fields, record.source)])
    said = f"{record.name}\n{way}" if way == _ERASE else f"{record.name}\n{way}\n{into.licence}\n{root.hex()}"
    request_id = str(uuid.uuid5(_SPACE, said))
    request = pb.ConfirmRecordRequest(
        name=record.name, confirmed=way != _ERASE, masked=way == _MASKED, request_id=request_id
    )
    if request.confirmed:
        request.declaration.CopyFrom(declared(wallet, into, root, 1, request_id))
    return request


def _show(found: Sequence[pb.Record], *, err: bool) -> None:
    for record in found:
        typer.echo(f"{record.name}  {_state(pb.RecordState.Name(record.state))}", err=err)
        for field, text in record.fields.items():
            typer.echo(f"  given {field}: {_cut(text)}", err=err)
        if record.source:
            typer.echo(f"  source: {_cut(record.source)}", err=err)
        for check in record.checks:
            if not check.passed:
                typer.echo(f"  {check.reason}: {check.message}", err=err)
        for field, text in record.suggested_fields.items():
            typer.echo(f"  suggested {field}: {_cut(text)}", err=err)
    if not found:
        typer.echo("no record of yours waits there", err=True)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}... ({len(text)} characters; --json has all)"


def _state(name: str) -> str:
    return name.removeprefix("RECORD_STATE_").lower()


def _document(record: pb.Record) -> dict[str, Any]:
    document: dict[str, Any] = MessageToDict(
        record, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document
