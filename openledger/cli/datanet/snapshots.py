"""`openledger datanet snapshot, snapshots`: cut a version of a datanet, and list those that there are."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import typer

from openledger import names
from openledger.cli.connection import Json, dump, run
from openledger.cli.datanet.datanets import Name, full_name
from openledger.datanet.v1 import datanet_pb2 as pb


def snapshot(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Freeze all accepted records of a datanet of yours as its next version, and wait until its root is on chain.

    Example: openledger datanet snapshot rare-terms
    """

    async def work() -> pb.Snapshot:
        async with context.obj.client() as client:
            request = pb.CreateSnapshotRequest(parent=full_name(name), request_id=str(uuid.uuid4()))
            operation = await client.call(client.datanet.CreateSnapshot, request)
            cut: pb.Snapshot = await client.wait("datanet", operation, pb.Snapshot)
            return cut

    _show(run(work), as_json=as_json)


def snapshots(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List a datanet's snapshots, newest first.

    Example: openledger datanet snapshots rare-terms
    """

    async def work() -> list[pb.Snapshot]:
        async with context.obj.client() as client:
            return [found async for found in snapshots_of(client, full_name(name))]

    found = run(work)
    if as_json:
        dump(pb.ListSnapshotsResponse(snapshots=found))
        return
    for one in found:
        _show(one, as_json=False)


async def snapshots_of(client: Any, datanet: str) -> AsyncIterator[pb.Snapshot]:
    """All of them, newest first."""
    token = ""
    while True:
        request = pb.ListSnapshotsRequest(parent=datanet, page_size=1000, page_token=token)
        page = await client.call(client.datanet.ListSnapshots, request)
        for found in page.snapshots:
            yield found
        token = page.next_page_token
        if not token:
            return


def snapshot_name(text: str) -> str:
    """`datanets/{datanet}/snapshots/{version}` for that, or for `{datanet}@{version}`.  Raises `ValueError`."""
    if "@" in text:
        datanet, _, version = text.partition("@")
        text = f"{full_name(datanet)}/snapshots/{version}"
    names.match("datanets/*/snapshots/*", text)
    return text


def _show(found: pb.Snapshot, *, as_json: bool) -> None:
    if as_json:
        dump(found)
        return
    where = (
        f"on chain {found.anchor.chain_id} in {found.anchor.contract}" if found.anchor.transaction else "no anchor yet"
    )
    counts = f"{found.record_count} records of {found.contributor_count} contributors"
    typer.echo(f"{found.name}  {counts}, {found.licence}\n  root {found.root.hex()}, {where}")
    if found.manifest:
        typer.echo(f"  files sha256:{found.manifest}, log {found.log_root.hex()}")
