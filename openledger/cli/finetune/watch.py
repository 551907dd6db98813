"""Follow a fine-tune to its end: a bar on stderr for people, one JSON line an event for scripts.

A connection that breaks is taken up again after the last event seen.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.json_format import MessageToJson

from openledger.factory.v1 import factory_pb2 as pb

_PAUSES = (0.5, 1.0, 2.0, 5.0, 5.0, 5.0)


async def events(client: Any, name: str, after: int = 0) -> AsyncIterator[pb.FineTuneEvent]:
    """All events until its end.  Raises `ApiError` when the Factory stays away, or has no such fine-tune."""
    from openledger.client import ApiError

    fails = 0
    while True:
        request = pb.WatchFineTuneRequest(name=name, after_sequence=after)
        try:
            async for event in client.stream(client.factory.WatchFineTune, request, 3600):
                after, fails = event.sequence, 0
                yield event
            return
        except ApiError as error:
            if error.code.name not in {"UNAVAILABLE", "DEADLINE_EXCEEDED"} or fails == len(_PAUSES):
                raise
            await asyncio.sleep(_PAUSES[fails])
            fails += 1


async def follow(client: Any, name: str, *, as_json: bool) -> pb.FineTune:
    """Show it until it ends; returns it then."""
    if as_json:
        async for event in events(client, name):
            line = MessageToJson(event, preserving_proto_field_name=True, indent=None)
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    else:
        await _bar(client, name)
    job: pb.FineTune = await client.call(client.factory.GetFineTune, pb.GetFineTuneRequest(name=name))
    return job


async def _bar(client: Any, name: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("waiting", total=None)
        async for event in events(client, name):
            if event.HasField("progress"):
                p = event.progress
                progress.update(task, total=p.steps, completed=p.step, description=words(event))
                if p.HasField("valid_loss"):
                    accuracy = f", accuracy {p.valid_mean_token_accuracy:.1%}" if p.valid_mean_token_accuracy else ""
                    console.print(f"step {p.step:>6}  held-out loss {p.valid_loss:.3f}{accuracy}")
            else:
                console.print(f"[dim]{event.time.ToJsonString()}[/dim]  {escape(event.message)}")


def words(event: pb.FineTuneEvent) -> str:
    """Where it is, in one line."""
    p = event.progress
    if not p.loss:
        return event.message
    return f"step {p.step}/{p.steps}  loss {p.loss:.3f}  {p.tokens_per_second:.0f} tok/s  {p.seconds_left:.0f} s left"
