"""`openledger balance|statement|deposit|claim|epoch`: money in, what became of it, and money out.

Asks the Ledger and signs what only its owner may sign; computes nothing itself.  Amounts that people type and see are
OPEN, in files and JSON atomic units.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from google.protobuf.message import Message

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, dump, run
from openledger.money import format_open, parse_open

if TYPE_CHECKING:
    from openledger.client import Client
    from openledger.ledger.v1 import ledger_pb2 as pb

_RELAYED = 180.0
"""Seconds that a call may take which waits for the chain."""

Account = Annotated[str, typer.Argument(help="accounts/<address>, or the address alone; default: your own.")]
Amount = Annotated[str, typer.Argument(help="OPEN, such as 2.5.")]
CsvFile = Annotated[
    Path | None, typer.Option("--csv", help="Write every line to this file, newest first; - is stdout.")
]
ParquetFile = Annotated[Path | None, typer.Option("--parquet", help="Write every line to this file.")]

epoch = typer.Typer(no_args_is_help=True)


def balance(
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Say what you have, may spend, and have earned.

    Example: openledger balance --key keys/alice.key
    """
    from openledger.cli import payments

    _answer(_connection(data, first_port, key, at), payments.balance, _show_balance, as_json=as_json)


def statement(
    csv: CsvFile = None,
    parquet: ParquetFile = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Lines to show; files get all of them.")] = 20,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Show what went into your books and out of them, newest first, or write all of it to a file.

    Example: openledger statement --csv 2026.csv --key keys/alice.key
    """
    from openledger.cli import statements

    if csv is not None and parquet is not None:
        raise typer.BadParameter("--csv and --parquet are two files: ask for one at a time")
    connection = _connection(data, first_port, key, at)
    file = csv or parquet
    if file is None:
        _answer(connection, lambda client: statements.newest(client, limit), statements.show, as_json=as_json)
        return
    write = statements.write_csv if csv is not None else statements.write_parquet

    async def work() -> int:
        async with connection.client() as client:
            return await write(client, file)

    written = run(work)
    if as_json:
        typer.echo(json.dumps({"file": str(file), "lines": written}), err=str(file) == "-")
    elif str(file) != "-":
        typer.echo(f"{written} lines in {file}")


def deposit(
    amount: Amount,
    days: Annotated[int, typer.Option(min=1, max=3650, help="For so long it may be spent.")] = 30,
    spend: Annotated[bool, typer.Option("--spend/--no-spend", help="Allow it to be spent as well.")] = True,
    rpc: Annotated[str, typer.Option("--rpc", help="The chain's JSON-RPC; default: what the ledger says.")] = "",
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Bring OPEN of your wallet in, and allow answers to be paid from it; the ledger pays the gas.

    Example: openledger deposit 2.5 --key keys/alice.key
    """
    from openledger.cli import payments

    try:
        units = parse_open(amount)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None

    async def work(client: Client) -> pb.Balance:
        await payments.deposit(client, units, rpc)
        return await payments.allow(client, days * 86_400) if spend else await payments.balance(client)

    _answer(_connection(data, first_port, key, at), work, _show_balance, as_json=as_json)


def claim(
    account: Account = "",
    look: Annotated[bool, typer.Option("--look", help="Only show what can be claimed, with its proof.")] = False,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Have what was earned sent to its owner's wallet; the ledger pays the gas.  Anybody may ask it for anybody.

    Example: openledger claim --key keys/alice.key
    """
    from openledger.client import request_id
    from openledger.ledger.v1 import ledger_pb2 as pb

    async def work(client: Client) -> pb.Claim:
        assert client.wallet is not None
        whose = _account(account) if account else client.wallet.account
        if look:
            found: pb.Claim = await client.call(client.ledger.GetClaim, pb.GetClaimRequest(account=whose))
        else:
            request = pb.RelayClaimRequest(account=whose, request_id=request_id())
            found = await client.call(client.ledger.RelayClaim, request, _RELAYED)
        return found

    _answer(_connection(data, first_port, key, at), work, _show_claim, as_json=as_json)


@epoch.callback()
def connect(
    context: typer.Context,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
) -> None:
    """Look at the epochs that settle earnings on chain; for operators, close the running one.

    Example: openledger epoch show 1
    """
    context.obj = _connection(data, first_port, key, at)


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

    _answer(context.obj, work, show, as_json=as_json, signed_in=False)


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

    _answer(context.obj, work, _show_epoch, as_json=as_json, signed_in=False)


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

    _answer(context.obj, work, _show_epoch, as_json=as_json)


def _connection(data: Path, first_port: int, key: Path | None, at: list[str] | None) -> Connection:
    return Connection(data, first_port, key, tuple(at or ()))


def _account(text: str) -> str:
    from openledger import names

    return names.account(text.removeprefix("accounts/"))


def _answer(
    connection: Connection,
    work: Callable[[Client], Any],
    show: Callable[[Any], None],
    *,
    as_json: bool,
    signed_in: bool = True,
) -> None:
    async def ask() -> Message:
        async with connection.client(signed_in=signed_in) as client:
            found: Message = await work(client)
            return found

    found = run(ask)
    if as_json:
        dump(found)
    else:
        show(found)


def _show_balance(found: pb.Balance) -> None:
    for words, amount in (
        ("deposited, not spent", found.deposited),
        ("set aside for answers", found.leased),
        ("can be spent now", found.spendable),
        ("spent in all", found.spent),
        ("earned in all", found.earned),
        ("on chain to be claimed or claimed", found.settled),
        ("claimed", found.claimed),
    ):
        typer.echo(f"{format_open(int(amount), 18):>28} OPEN  {words}")


def _show_claim(found: pb.Claim) -> None:
    amount = f"{format_open(int(found.amount), 18)} OPEN"
    if found.transaction:
        typer.echo(f"{amount} sent to {found.account.removeprefix('accounts/')} by {found.transaction}")
        return
    typer.echo(f"{amount} can be claimed by {found.epoch}; in all {format_open(int(found.cumulative), 18)} OPEN")
    for node in found.proof:
        typer.echo("  0x" + node.hex())


def _show_epoch(found: pb.Epoch) -> None:
    from openledger.ledger.v1 import ledger_pb2 as pb

    state = pb.EpochState.Name(found.state).removeprefix("EPOCH_STATE_").lower()
    typer.echo(f"{found.name}  {state}  {found.receipt_count} receipts, {found.leaf_count} accounts, ", nl=False)
    typer.echo(f"{format_open(int(found.total), 18)} OPEN in all, root {found.root}")
