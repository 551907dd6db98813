"""`openledger balance|statement|payouts|deposit|claim|correct`: money in, what became of it, and money out.

Asks the Ledger and signs what only its owner may sign; computes nothing itself.  Amounts that people type and see are
OPEN, in files and JSON atomic units.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from google.protobuf.message import Message

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, OperatorKey, Port, dump, run
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

    answer(connection_of(data, first_port, key, at), payments.balance, _show_balance, as_json=as_json)


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
    connection = connection_of(data, first_port, key, at)
    file = csv or parquet
    if file is None:
        answer(connection, lambda client: statements.newest(client, limit), statements.show, as_json=as_json)
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
    by: Annotated[
        Literal["permit", "transfer"],
        typer.Option(help="What is signed: an ERC-2612 permit, or an ERC-3009 transfer, for which no chain is asked."),
    ] = "permit",
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

    much = units(amount)

    async def work(client: Client) -> pb.Balance:
        await (payments.deposit(client, much, rpc) if by == "permit" else payments.deposit_by_transfer(client, much))
        return await payments.allow(client, days * 86_400) if spend else await payments.balance(client)

    answer(connection_of(data, first_port, key, at), work, _show_balance, as_json=as_json)


def claim(
    account: Account = "",
    look: Annotated[bool, typer.Option("--look", help="Only show what can be claimed, with its proof.")] = False,
    to: Annotated[str, typer.Option("--to", help="Have your own paid to this address instead; signed by --key.")] = "",
    max_fee: Annotated[str, typer.Option(help="With --to: the most that the relayer may keep, in OPEN.")] = "0",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only show what the gas of a claim costs now; the ledger pays it.")
    ] = False,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Have what you earned sent to your key's own address, or to another one with --to; the ledger pays the gas.

    An operator may have anybody's sent to its owner.

    Example: openledger claim --key keys/alice.key
    """
    from openledger.cli import gas, payments
    from openledger.client import request_id
    from openledger.ledger.v1 import ledger_pb2 as pb

    if estimate:
        kinds = ("signed_claim",) if to else ("claim", "first_claim")
        here = connection_of(data, first_port, key, at)
        answer(here, gas.asked, lambda found: gas.show(found, kinds), as_json=as_json, signed_in=False)
        return
    most = units(max_fee, least=0)
    if to and (look or account):
        raise typer.BadParameter("pays what your own key has earned: without ACCOUNT and --look", param_hint="--to")

    async def work(client: Client) -> pb.Claim:
        assert client.wallet is not None
        if to:
            return await payments.claim_to(client, _address(to), most)
        whose = _account(account) if account else client.wallet.account
        if look:
            found: pb.Claim = await client.call(client.ledger.GetClaim, pb.GetClaimRequest(account=whose))
        else:
            request = pb.RelayClaimRequest(account=whose, request_id=request_id())
            found = await client.call(client.ledger.RelayClaim, request, _RELAYED)
        return found

    answer(connection_of(data, first_port, key, at), work, _show_claim, as_json=as_json)


def payouts(
    account: Account = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    after: Annotated[str, typer.Option(help="Go on after this epoch's number.")] = "",
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Show what epochs gave to an account, newest first.  What it may claim is `openledger claim --look`.

    Example: openledger payouts --key keys/alice.key
    """
    from openledger.cli import payments
    from openledger.cli import payouts as lines

    async def work(client: Client) -> pb.ListEpochPayoutsResponse:
        whose = _account(account) if account else payments.own(client).account
        return await lines.asked(account=whose, page_size=limit, page_token=after)(client)

    answer(connection_of(data, first_port, key, at), work, lines.show, as_json=as_json, signed_in=not account)


def correct(
    response: Annotated[str, typer.Argument(help="responses/<response>, whose charge is taken back.")],
    reason: Annotated[str, typer.Option(help="Why, for everybody to read: it is signed and published.")],
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: OperatorKey = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Take back what an answer was charged, before an epoch settles it.  For operators.

    Example: openledger correct responses/4f... --reason "answered twice"
    """
    from openledger.cli import payments

    def show(found: pb.Correction) -> None:
        typer.echo(f"{found.corrects} ({found.cause}) was taken back by {found.name}: {found.reason}")

    answer(
        connection_of(data, first_port, key, at, role="operator"),
        lambda client: payments.correct(client, response, reason),
        show,
        as_json=as_json,
    )


def connection_of(
    data: Path, first_port: int, key: Path | None, at: list[str] | None, *, role: str = "builder"
) -> Connection:
    """For commands about money, which make no key: a new one has none, and may do nothing."""
    return Connection(data, first_port, key, tuple(at or ()), role, makes_key=False)


def _account(text: str) -> str:
    return f"accounts/{_address(text)}"


def _address(text: str) -> str:
    from openledger import names

    return names.address(text.removeprefix("accounts/"))


def units(text: str, *, least: int = 1) -> int:
    """Atomic units of what people type, so many at least."""
    try:
        found = parse_open(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if found < least:
        raise typer.BadParameter("0 OPEN is no amount")
    return found


def answer(
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
        to = (found.to or found.account).removeprefix("accounts/")
        kept = f", less a fee of {format_open(int(found.fee), 18)} OPEN," if int(found.fee or 0) else ""
        typer.echo(f"{amount}{kept} sent to {to} by {found.transaction}")
        return
    typer.echo(f"{amount} can be claimed by {found.epoch}; in all {format_open(int(found.cumulative), 18)} OPEN")
    for node in found.proof:
        typer.echo("  0x" + node.hex())
