"""What epochs gave to accounts, for people.  Asks the Ledger; computes nothing itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import typer

from openledger.client import Client
from openledger.ledger.v1 import ledger_pb2 as pb
from openledger.money import format_open


def asked(**request: Any) -> Callable[[Client], Awaitable[pb.ListEpochPayoutsResponse]]:
    """Asks for a page, by the fields of the request."""

    async def work(client: Client) -> pb.ListEpochPayoutsResponse:
        message = pb.ListEpochPayoutsRequest(**request)
        found: pb.ListEpochPayoutsResponse = await client.call(client.ledger.ListEpochPayouts, message)
        return found

    return work


def show(found: pb.ListEpochPayoutsResponse) -> None:
    """One line each, and where it goes on."""
    if not found.payouts:
        typer.echo("Nothing here." if found.next_page_token else "Nothing.")
    for one in found.payouts:
        who, state = one.account.removeprefix("accounts/"), pb.EpochState.Name(one.state).removeprefix("EPOCH_STATE_")
        line = f"{one.epoch:>12}  {who}  {format_open(int(one.amount), 18):>28} OPEN"
        line += f", in all {format_open(int(one.cumulative), 18)}"
        line += "" if one.state == pb.EPOCH_STATE_ACTIVE else f"  ({state.lower()})"
        line += f"; {format_open(int(one.waiting), 18)} wait for the next epochs" if int(one.waiting) else ""
        typer.echo(line)
    if found.next_page_token:
        typer.echo(f"There are more: --after {found.next_page_token}")
