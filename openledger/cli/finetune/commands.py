"""The subcommands of `openledger finetune` that start, follow, find and stop fine-tunes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openledger.cli.connection import Json
from openledger.cli.finetune import ask, show
from openledger.cli.finetune.ask import Asked, name_of
from openledger.cli.finetune.asking import Name, Watch, app, asking, follow_to_its_end, said, shown
from openledger.factory.v1 import factory_pb2 as pb


@app.command()
def estimate(
    context: typer.Context,
    file: ask.File = None,
    base: ask.Base = "",
    snapshot: ask.Snapshots = None,
    prompt: ask.Prompt = "",
    completion: ask.Completion = "",
    non_commercial: ask.NonCommercial = False,
    settings: ask.Set = None,
    as_json: Json = False,
) -> None:
    """Say what a fine-tune would use, take and cost, whom it would pay, and under which licence it would come out.

    Example: openledger finetune estimate -s datanets/herbs/snapshots/3 --prompt "{name}?" --completion "{text}"
    """
    asked = _asked(file, "", base, snapshot, prompt, completion, non_commercial, settings)
    request = said(lambda: asked.request(pb.EstimateFineTuneRequest))
    answer = asking(context, "EstimateFineTune", request)
    shown(answer, show.estimate, as_json=as_json)


@app.command()
def create(
    context: typer.Context,
    file: ask.File = None,
    adapter: ask.Adapter = "",
    base: ask.Base = "",
    snapshot: ask.Snapshots = None,
    prompt: ask.Prompt = "",
    completion: ask.Completion = "",
    non_commercial: ask.NonCommercial = False,
    settings: ask.Set = None,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Start a fine-tune, from options or from a run file.

    Example: openledger finetune create --file run.yaml --watch
    """
    from openledger.client import request_id

    asked = _asked(file, adapter, base, snapshot, prompt, completion, non_commercial, settings)
    ids = {"adapter_id": adapter, "request_id": request_id()}
    request = said(lambda: asked.request(pb.CreateFineTuneRequest, **ids))
    job = asking(context, "CreateFineTune", request)
    if watch:
        follow_to_its_end(context, job.name, as_json=as_json)
    else:
        shown(job, show.fine_tune, as_json=as_json)


@app.command("watch")
def watch_(
    context: typer.Context,
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line an event.")] = False,
) -> None:
    """Follow a fine-tune to its end; exit status 1 when it fails.

    Example: openledger finetune watch 5a2f6f0e6a1d
    """
    follow_to_its_end(context, name_of(name), as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    filter_: Annotated[
        str, typer.Option("--filter", help='Such as \'status = "running" AND adapter = "herbs"\'.')
    ] = "",
    most: Annotated[int, typer.Option("--most", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List your fine-tunes, newest first.

    Example: openledger finetune list --filter 'status = "failed"'
    """
    request = pb.ListFineTunesRequest(filter=filter_, page_size=most)
    answer = asking(context, "ListFineTunes", request)
    shown(answer, lambda page: show.fine_tunes(page.fine_tunes), as_json=as_json)


@app.command("show")
def show_(
    context: typer.Context,
    name: Name,
    as_json: Json = False,
) -> None:
    """Show a fine-tune.

    Example: openledger finetune show 5a2f6f0e6a1d --json
    """
    request = pb.GetFineTuneRequest(name=name_of(name))
    answer = asking(context, "GetFineTune", request)
    shown(answer, show.fine_tune, as_json=as_json)


@app.command()
def cancel(
    context: typer.Context,
    name: Name,
    as_json: Json = False,
) -> None:
    """Stop a fine-tune; what was trained is dropped.

    Example: openledger finetune cancel 5a2f6f0e6a1d
    """
    from openledger.client import request_id

    request = pb.CancelFineTuneRequest(name=name_of(name), request_id=request_id())
    answer = asking(context, "CancelFineTune", request)
    shown(answer, show.fine_tune, as_json=as_json)


@app.command()
def clone(
    context: typer.Context,
    name: Name,
    adapter: ask.Adapter = "",
    base: ask.Base = "",
    snapshot: ask.Snapshots = None,
    prompt: ask.Prompt = "",
    completion: ask.Completion = "",
    non_commercial: ask.NonCommercial = False,
    settings: ask.Set = None,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Start a fine-tune like an earlier one, with changes.

    Example: openledger finetune clone 5a2f6f0e6a1d --set rank=16 --set seed=1 --watch
    """
    from openledger.client import request_id

    asked = _asked(None, adapter, base, snapshot, prompt, completion, non_commercial, settings)
    changes = said(asked.changes)
    request = pb.CloneFineTuneRequest(name=name_of(name), changes=changes, adapter_id=adapter, request_id=request_id())
    job = asking(context, "CloneFineTune", request)
    if watch:
        follow_to_its_end(context, job.name, as_json=as_json)
    else:
        shown(job, show.fine_tune, as_json=as_json)


def _asked(
    file: Path | None,
    adapter: str,
    base: str,
    snapshots: list[str] | None,
    prompt: str,
    completion: str,
    non_commercial: bool,
    settings: list[str] | None,
) -> Asked:
    return Asked(file, adapter, base, tuple(snapshots or ()), prompt, completion, non_commercial, tuple(settings or ()))
