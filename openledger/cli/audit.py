"""`openledger audit`: how far a model's scores can be trusted, measured on answers that were really given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Port, dump, run


def audit(
    revision: Annotated[str, typer.Argument(help="adapters/.../revisions/...")],
    data: Data = Path("build/openledger"),
    first_port: Port = 7400,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Say how well a model's paid scores agree with really leaving contributors out.

    Example: openledger audit adapters/rare-disease-terms/revisions/6bcc42e6...
    """
    from openledger.attribution.v1 import attribution_pb2 as pb

    async def ask() -> pb.ModelAudit:
        async with Connection(data, first_port, at=tuple(at or ())).client(signed_in=False) as client:
            told: pb.ModelAudit = await client.call(
                client.attribution.GetModelAudit, pb.GetModelAuditRequest(revision=revision)
            )
            return told

    found = run(ask)
    if as_json:
        dump(found)
    else:
        typer.echo(found.words)
        if found.grade:
            typer.echo(f"Its grade: {found.grade}.  `openledger verify grade` derives it again from what was measured.")
