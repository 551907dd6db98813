"""`openledger epoch`: the epochs that settle earnings on chain.  Asks the Ledger; computes nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from google.protobuf.message import Message

from openledger.cli.connection import Connection, Data, Endpoint, Json, OperatorKey, Port
from openledger.cli.money import answer, connection_of
from openledger.money import format_open

if TYPE_CHECKING:
    from openledger.client import Client
    from openledger.ledger.v1 import ledger_pb2 as pb

epoch = typer.Typer(no_args_is_help=True)


@epoch.callback()
def connect(
    context: typer.Context,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: OperatorKey = None,
    at: Endpoint = None,
) -> None:
    """Look at the epochs that settle earnings on chain; for operators, close the running one.

    Example: openledger epoch show 1
    """
    context.obj = connection_of(data, first_port, key, at, role="operator")


@epoch.command("list")
def list_epochs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """Show epochs, newest first.

    Example: openledger epoch list --json
    """
    from openledger.ledger.v1 import ledger_pb2 as pb

    async def work(client: Client) -> Message:
        found: Message = await client.call(client.ledger.ListEpochs, pb.ListEpochsRequest(page_size=limit))
        return found

    def show(found: pb.ListEpochsResponse) -> None:
        for one in found.epochs:
            _show_epoch(one)

    answer(context.obj, work, show, as_json=as_json, signed_in=False)


@epoch.command("show")
def show_epoch(
    context: typer.Context,
    number: Annotated[str, typer.Argument(help="epochs/<number>, or the number alone.")],
    as_json: Json = False,
) -> None:
    """Show one epoch.

    Example: openledger epoch show 1
    """
    from openledger.ledger.v1 import ledger_pb2 as pb

    async def work(client: Client) -> pb.Epoch:
        request = pb.GetEpochRequest(name=f"epochs/{number.removeprefix('epochs/')}")
        found: pb.Epoch = await client.call(client.ledger.GetEpoch, request)
        return found

    answer(context.obj, work, _show_epoch, as_json=as_json, signed_in=False)


@epoch.command("payouts")
def epoch_payouts(
    context: typer.Context,
    number: Annotated[str, typer.Argument(help="epochs/<number>, or the number alone.")],
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    after: Annotated[str, typer.Option(help="Go on after this address.")] = "",
    as_json: Json = False,
) -> None:
    """Show what an epoch gave to whom, in the order of addresses.

    Example: openledger epoch payouts 1
    """
    from openledger.cli import payouts

    name = f"epochs/{number.removeprefix('epochs/')}"
    work = payouts.asked(epoch=name, page_size=limit, page_token=after)
    answer(context.obj, work, payouts.show, as_json=as_json, signed_in=False)


@epoch.command("price")
def gas_price(context: typer.Context, as_json: Json = False) -> None:
    """Show what gas costs now, and what a root, a claim and the others cost at that.

    Example: openledger epoch price
    """
    from openledger.cli import gas

    answer(context.obj, gas.asked, gas.show, as_json=as_json, signed_in=False)


@epoch.command("close")
def close_epoch(
    context: typer.Context,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until its root pays; 0: do not.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Close the running epoch and post its root on chain.  For operators.

    Example: openledger epoch close --wait 600
    """
    from openledger.client import request_id
    from openledger.ledger.v1 import ledger_pb2 as pb

    async def work(client: Client) -> pb.Epoch:
        request = pb.CloseEpochRequest(request_id=request_id())
        operation = await client.call(client.ledger.CloseEpoch, request)
        if wait:
            return await client.wait("ledger", operation, pb.Epoch, wait)
        sealed = pb.Epoch()
        operation.metadata.Unpack(sealed)
        return sealed

    answer(context.obj, work, _show_epoch, as_json=as_json)


def _show_epoch(found: pb.Epoch) -> None:
    from openledger.ledger.v1 import ledger_pb2 as pb

    state = pb.EpochState.Name(found.state).removeprefix("EPOCH_STATE_").lower()
    typer.echo(f"{found.name}  {state}  {found.receipt_count} receipts, {found.leaf_count} accounts, ", nl=False)
    typer.echo(f"{format_open(int(found.total), 18)} OPEN in all, root {found.root}")
    if int(found.waiting or 0):
        typer.echo(f"  {format_open(int(found.waiting), 18)} OPEN more than one root may add: left for the next epochs")
    if found.held_up:
        typer.echo(f"  held up: {found.held_up}")
