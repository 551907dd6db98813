"""The subcommands of `openledger finetune` for what came of fine-tunes: measured, compared, written down, published."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from openledger.cli.connection import Json, dump
from openledger.cli.finetune import show
from openledger.cli.finetune.ask import name_of, names_of
from openledger.cli.finetune.asking import Name, app, asking, said, shown
from openledger.factory.v1 import factory_pb2 as pb

Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the report and its pictures.")]


@app.command()
def evaluation(context: typer.Context, name: Name, out: Out = None, as_json: Json = False) -> None:
    """Say what was measured of a finished fine-tune before it is published; --out keeps the report and its pictures.

    Example: openledger finetune evaluation 5a2f6f0e6a1d --out report
    """
    request = pb.GetFineTuneEvaluationRequest(name=f"{name_of(name)}/evaluation")
    answer = asking(context, "GetFineTuneEvaluation", request)
    if out is not None:
        said(lambda: _keep(answer, out))
    if as_json:
        sys.stdout.write(answer.report + "\n")
    else:
        show.evaluation(answer)


@app.command()
def revision(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="adapters/<adapter>/revisions/<digest>")],
    as_json: Json = False,
) -> None:
    """Show a published revision: its files, its licence, and where it stands on chain.

    Example: openledger finetune revision adapters/herbs/revisions/8ea7...
    """
    request = pb.GetAdapterRevisionRequest(name=name)
    shown(asking(context, "GetAdapterRevision", request, signed_in=False), show.revision, as_json=as_json)


@app.command()
def deprecate(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(help="adapters/<adapter>/revisions/<digest>")],
    reason: Annotated[str, typer.Option("--reason", help="For those who use it.")],
    replacement: Annotated[str, typer.Option("--replacement", help="The revision to be used in its stead.")] = "",
    as_json: Json = False,
) -> None:
    """Take a published revision out of what is offered; who knows its name can still use it.

    Example: openledger finetune deprecate adapters/herbs/revisions/8ea7... --reason "a better one is out"
    """
    from openledger.client import request_id

    request = pb.DeprecateAdapterRevisionRequest(
        name=revision, reason=reason, replacement=replacement, request_id=request_id()
    )
    shown(asking(context, "DeprecateAdapterRevision", request), show.revision, as_json=as_json)


@app.command()
def compare(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Two to eight fine-tunes.")],
    as_json: Json = False,
) -> None:
    """Show fine-tunes side by side: where they differ, what came of it, and how the loss went.

    Example: openledger finetune compare 5a2f6f0e6a1d 77c0ffee0a1b
    """
    request = pb.CompareFineTunesRequest(names=names_of(names))
    answer = asking(context, "CompareFineTunes", request)
    shown(answer, show.comparison, as_json=as_json)


@app.command()
def export(
    context: typer.Context,
    name: Name,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default: stdout.")] = None,
    as_json: Json = False,
) -> None:
    """Write a fine-tune's run file: the whole run, which `create --file` makes again.

    Example: openledger finetune export 5a2f6f0e6a1d --out run.yaml
    """
    request = pb.ExportFineTuneRequest(name=name_of(name))
    answer = asking(context, "ExportFineTune", request)
    if out is not None:
        said(lambda: out.write_text(answer.content))
    if as_json:
        dump(answer)
    elif out is None:
        sys.stdout.write(answer.content)


@app.command()
def publish(
    context: typer.Context,
    name: Name,
    as_json: Json = False,
) -> None:
    """Make the adapter of a finished fine-tune usable by everybody.

    Example: openledger finetune publish 5a2f6f0e6a1d
    """
    from openledger.client import request_id

    request = pb.PublishAdapterRevisionRequest(fine_tune=name_of(name), request_id=request_id())
    answer = asking(context, "PublishAdapterRevision", request)
    shown(answer, show.revision, as_json=as_json)


@app.command()
def bases(
    context: typer.Context,
    as_json: Json = False,
) -> None:
    """List the base models that can be tuned.

    Example: openledger finetune bases
    """
    answer = asking(context, "ListBaseModels", pb.ListBaseModelsRequest(), signed_in=False)
    shown(answer, lambda found: show.bases(found.base_models), as_json=as_json)


def _keep(answer: pb.FineTuneEvaluation, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(answer.report)
    for name, picture in answer.pictures.items():
        (folder / Path(name).name).write_bytes(picture)
