"""`openledger adapter`: bring one that was made elsewhere, combine some, see which are here, and keep some in memory.

The manifest of one that is brought is made and signed here: the service never sees the key, and publishes nothing that
its owner did not sign.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, OperatorKey, Port, dump, run

if TYPE_CHECKING:
    from openledger.client import Wallet
    from openledger.manifest import LineageManifest

app = typer.Typer(no_args_is_help=True)

_WEIGHTED = re.compile(r"(\S+)=(\d{1,3}(?:\.\d{1,4})?)")
_PIECE = 10**6
_SECONDS = 600.0

Revision = Annotated[str, typer.Argument(help="adapters/<adapter>/revisions/<digest>")]


@app.callback()
def connect(
    context: typer.Context,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    at: Endpoint = None,
) -> None:
    """Bring an adapter that was made elsewhere, and see which are here.

    Example: openledger adapter import ./my-lora --name poems --licence MIT --use commercial
    """
    context.obj = Connection(data, first_port, None, tuple(at or ()))


@app.command("import")
def bring(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="As PEFT saves it: adapter_config.json, adapter_model.safetensors.")],
    name: Annotated[str, typer.Option("--name", help="What you call it: a-z, 0-9 and inner '-', at most 44.")],
    licence: Annotated[str, typer.Option("--licence", help="On what terms others may use it: an SPDX expression.")],
    use: Annotated[Literal["commercial", "non-commercial"], typer.Option(help="What it may be used for.")],
    base_sha256: Annotated[
        str, typer.Option("--base-sha256", help="Of the base model's model.safetensors, where it has no name here.")
    ] = "",
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Bring an adapter.  You are its owner: you answer for it, and are paid the developer's share of its answers.

    Nobody's records are known to be in it, so what else contributors would get is nobody's.  Links are not followed,
    pickles not opened; README and the like stay where they are.

    Example: openledger adapter import ./my-lora --name poems --licence MIT --use commercial
    """
    connection = _as(context, key, "builder")

    async def work() -> Any:
        from openledger import imported
        from openledger.openlora.v1 import openlora_pb2 as pb

        with tempfile.TemporaryDirectory() as place:
            imported.gather(folder, Path(place))
            async with connection.client() as client:
                served = (await client.call(client.openlora.ListModels, pb.ListModelsRequest(page_size=1))).models[0]
                lineage = _describe(Path(place), name, served.base, base_sha256, licence, use, client.wallet)
                pieces = _messages(lineage, Path(place))
                return await client.call(client.openlora.ImportAdapter, pieces, _SECONDS)

    _show(run(work), as_json=as_json)


@app.command()
def combine(
    context: typer.Context,
    parents: Annotated[list[str], typer.Argument(metavar="REVISION=WEIGHT...", help="Two to eight, such as ...=0.7.")],
    name: Annotated[str, typer.Option("--name", help="The adapter that it is a revision of.")],
    use: Annotated[Literal["commercial", "non-commercial"], typer.Option(help="What it is for.")] = "commercial",
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make the weighted sum of published revisions a revision of yours, which is published at once.

    Ranks add up.  Its answers pay the contributors of all of them; the developer's share is yours.

    Example: openledger adapter combine adapters/herbs/revisions/8ea7...=0.7 adapters/trees/revisions/02c1...=0.3
    --name plants
    """
    from openledger.cli.finetune import show
    from openledger.client import request_id
    from openledger.factory.v1 import factory_pb2 as pb

    connection = _as(context, key, "builder")

    async def work() -> Any:
        request = pb.CombineAdapterRevisionsRequest(
            parents=map(_weighted, parents),
            adapter_id=name,
            use=pb.USE_NON_COMMERCIAL if use == "non-commercial" else pb.USE_COMMERCIAL,
            request_id=request_id(),
        )
        async with connection.client() as client:
            return await client.call(client.factory.CombineAdapterRevisions, request, _SECONDS)

    made = run(work)
    if as_json:
        dump(made)
    else:
        show.revision(made)


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List adapters that were asked for, brought or pinned since the service began.

    Example: openledger adapter list --json
    """

    async def work() -> Any:
        from openledger.openlora.v1 import openlora_pb2 as pb

        found = pb.ListAdaptersResponse()
        async with context.obj.client(signed_in=False) as client:
            while True:
                request = pb.ListAdaptersRequest(page_size=1000, page_token=found.next_page_token)
                page = await client.call(client.openlora.ListAdapters, request)
                found.adapters.extend(page.adapters)
                found.next_page_token = page.next_page_token
                if not page.next_page_token:
                    return found

    found = run(work)
    if as_json:
        dump(found)
        return
    for adapter in found.adapters:
        _show(adapter, as_json=False)


@app.command()
def show(context: typer.Context, revision: Revision, as_json: Json = False) -> None:
    """Show how ready one is.

    Example: openledger adapter show adapters/herbs/revisions/8ea7...
    """
    _show(_called(context.obj, "GetAdapter", revision, signed_in=False), as_json=as_json)


@app.command()
def pin(context: typer.Context, revision: Revision, key: OperatorKey = None, as_json: Json = False) -> None:
    """Keep one in memory, whatever else is asked for.  For operators.

    Example: openledger adapter pin adapters/herbs/revisions/8ea7...
    """
    _show(_called(_as(context, key, "operator"), "PinAdapter", revision), as_json=as_json)


@app.command()
def unpin(context: typer.Context, revision: Revision, key: OperatorKey = None, as_json: Json = False) -> None:
    """Keep it there no longer than others.  For operators.

    Example: openledger adapter unpin adapters/herbs/revisions/8ea7...
    """
    _show(_called(_as(context, key, "operator"), "UnpinAdapter", revision), as_json=as_json)


def _weighted(text: str) -> Any:
    """A revision and its weight, as people type them.  Raises `ValueError`."""
    from openledger.factory.v1 import factory_pb2 as pb
    from openledger.manifest_rules import WEIGHT_ONE

    found = _WEIGHTED.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text[:200]!r} must be <revision>=<weight>, the weight such as 0.7, with up to four decimals"
        )
    return pb.CombinedRevision(revision=found[1], weight_bps=int(Decimal(found[2]) * WEIGHT_ONE))


def _as(context: typer.Context, key: Path | None, role: str) -> Connection:
    known: Connection = context.obj
    return Connection(known.data, known.first_port, key, known.at, role, makes_key=False)


def _called(connection: Connection, method: str, revision: str, *, signed_in: bool = True) -> Any:
    async def work() -> Any:
        from openledger.openlora.v1 import openlora_pb2

        request = getattr(openlora_pb2, f"{method}Request")(name=revision)
        async with connection.client(signed_in=signed_in) as client:
            return await client.call(getattr(client.openlora, method), request)

    return run(work)


def _describe(
    folder: Path, name: str, base: str, base_sha256: str, licence: str, use: str, wallet: Wallet
) -> LineageManifest:
    from openledger import base_models, imported
    from openledger.manifest import Base

    try:
        sha256 = base_sha256 or base_models.sha256(base)
    except base_models.BaseModelUnavailable as error:
        raise ValueError(f"{error}: --base-sha256 says which weights the adapter is for") from error
    return imported.describe(
        folder,
        name,
        Base(base, sha256),
        licence=licence,
        use=use,
        owner=wallet.address,
        private_key=wallet.private_key,
    )


async def _messages(lineage: LineageManifest, folder: Path) -> AsyncIterator[Any]:
    from openledger.imported import BROUGHT
    from openledger.openlora.v1 import openlora_pb2 as pb

    yield pb.ImportAdapterRequest(manifest=lineage.to_bytes())
    for name in BROUGHT:
        with (folder / name).open("rb") as file:
            while data := file.read(_PIECE):
                yield pb.ImportAdapterRequest(piece=pb.FilePiece(file=name, data=data))


def _show(adapter: Any, *, as_json: bool) -> None:
    if as_json:
        dump(adapter)
        return
    from openledger.openlora.v1 import openlora_pb2 as pb

    state = pb.AdapterState.Name(adapter.state).removeprefix("ADAPTER_STATE_").lower()
    marks = [word for word, on in (("pinned", adapter.pinned), ("imported", adapter.imported)) if on]
    typer.echo(f"{adapter.name}  {', '.join([state, *marks])}  {adapter.size_bytes / 2**20:.1f} MiB")
    if adapter.message:
        typer.echo(f"  {adapter.message}")
