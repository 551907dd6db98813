"""What the subcommands of `openledger finetune` share: where they ask, how they show, and what they have in common.

Knows none of the questions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Key, Port, dump, run

app = typer.Typer(no_args_is_help=True)

Filter = Annotated[str, typer.Option("--filter", help="Such as: status = running AND adapter = herbs")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")]
Name = Annotated[str, typer.Argument(help="fineTunes/<id>, or the id alone.")]


@app.callback()
def connect(
    context: typer.Context,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
) -> None:
    """Tune a model on datanets' snapshots, without code.

    Example: openledger finetune create --adapter herbs -s datanets/herbs/snapshots/3 --prompt "What is {name}?"
    --completion "{text}" --watch
    """
    context.obj = Connection(data, first_port, key, tuple(at or ()))


def asking(context: typer.Context, method: str, request: Any, *, signed_in: bool = True) -> Any:
    """One call's answer."""

    async def call() -> Any:
        async with context.obj.client(signed_in=signed_in) as client:
            return await client.call(getattr(client.factory, method), request)

    return run(call)


def shown(answer: Any, show: Callable[[Any], None], *, as_json: bool) -> None:
    """An answer, for people or as JSON."""
    if as_json:
        dump(answer)
    else:
        show(answer)


def follow_to_its_end(context: typer.Context, name: str, *, as_json: bool) -> None:
    """Show a fine-tune as it goes; exit status 1 when it fails."""
    from openledger.cli.finetune import show, watch

    async def follow() -> Any:
        async with context.obj.client() as client:
            return await watch.follow(client, name, as_json=as_json)

    job = run(follow)
    if not as_json:
        show.fine_tune(job)
    if job.status != "succeeded":
        raise typer.Exit(1)


def said(make: Any) -> Any:
    """Something made of options and files; what is wrong with them is said in words."""

    async def made() -> Any:
        return make()

    return run(made)
