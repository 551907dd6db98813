"""`openledger model split`: how the fees of a revision's answers are divided, and its developer's change of that.

What is registered can be changed by the developer's own transactions alone: announced, waited for, made.  No signature
stands in for them, so that no relayer can pay the gas and the wallet needs some ether.  Asks chain and ledger.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run

if TYPE_CHECKING:
    from openledger.cli.rpc import Rpc
    from openledger.client import Client, Wallet
    from openledger.ledger.v1 import ledger_pb2 as pb

REGISTRY, WHOLE = "ModelRegistry", 10_000

app = typer.Typer(no_args_is_help=True, help="See and change how the fees of your models' answers are divided.")
split = typer.Typer(no_args_is_help=True)
app.add_typer(split, name="split")

Revision = Annotated[str, typer.Argument(help="adapters/<adapter>/revisions/<digest>")]
Parts = Annotated[int, typer.Option(min=0, max=5_000, help="Basis points of a fee without the platform's part.")]
RpcUrl = Annotated[str, typer.Option("--rpc", help="The chain's JSON-RPC; default: what the ledger says.")]


@split.callback()
def connect(
    context: typer.Context,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    at: Endpoint = None,
) -> None:
    """See how the fees of a registered revision's answers are divided; as its developer, change it.

    Example: openledger model split show adapters/herbs/revisions/8ea7...
    """
    context.obj = Connection(data, first_port, None, tuple(at or ()))


@split.command()
def show(context: typer.Context, revision: Revision, as_json: Json = False) -> None:
    """Show every split that it ever had, from when on each holds, and the one that is announced.

    Example: openledger model split show adapters/herbs/revisions/8ea7... --json
    """

    async def work() -> tuple[pb.ModelRegistration, list[pb.SplitVersion]]:
        async with context.obj.client(signed_in=False) as client:
            return await _registered(client, revision), await _splits(client, revision)

    found, splits = run(work)
    if as_json:
        _dump(found, splits)
    else:
        _show(found, splits)


@split.command()
def propose(
    context: typer.Context,
    revision: Revision,
    developer_bps: Parts,
    stakers_bps: Parts,
    rpc: RpcUrl = "",
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Announce another split: what you and the stakers get; the contributors get the rest, at least half.

    It replaces one that you had announced.  It can be made once the registry's delay is over, for two weeks.  Your
    wallet pays the gas.

    Example: openledger model split propose adapters/herbs/revisions/8ea7... --developer-bps 1500 --stakers-bps 500
    """
    if developer_bps + stakers_bps > WHOLE // 2:
        raise typer.BadParameter(f"{developer_bps} and {stakers_bps} leave the contributors less than half of a fee")
    _act(context, key, rpc, revision, "proposeSplit", (developer_bps, stakers_bps), as_json=as_json)


@split.command()
def activate(
    context: typer.Context, revision: Revision, rpc: RpcUrl = "", key: Key = None, as_json: Json = False
) -> None:
    """Make the change that you announced, now that its time has come.  Answers from its block on are paid by it.

    Example: openledger model split activate adapters/herbs/revisions/8ea7...
    """
    _act(context, key, rpc, revision, "activateSplit", as_json=as_json)


@split.command()
def cancel(
    context: typer.Context, revision: Revision, rpc: RpcUrl = "", key: Key = None, as_json: Json = False
) -> None:
    """Take back what you announced.

    Example: openledger model split cancel adapters/herbs/revisions/8ea7...
    """
    _act(context, key, rpc, revision, "cancelSplit", as_json=as_json)


def _act(
    context: typer.Context, key: Path | None, rpc: str, revision: str, function: str, *arguments: Any, as_json: bool
) -> None:
    """Send the developer's transaction, and say how it stands on chain then."""
    known: Connection = context.obj
    connection = Connection(known.data, known.first_port, key, known.at, makes_key=False)

    async def work() -> tuple[str, tuple[int, int, int], tuple[int, int]]:
        from openledger.cli import payments

        async with connection.client() as client:
            found = await _registered(client, revision)
            chain = payments.chain_of(await payments.info(client), rpc)
            return await asyncio.to_thread(_send, chain, found, client.wallet, function, arguments)

    sent, announced, now = run(work)
    told = {
        "revision": revision,
        "transaction": sent,
        "split": {"developer_bps": now[0], "stakers_bps": now[1]},
        "announced": None
        if not announced[2]
        else {"developer_bps": announced[0], "stakers_bps": announced[1], "active_at": announced[2]},
    }
    typer.echo(json.dumps(told, indent=2) if as_json else _words(sent, announced, now))


def _send(
    chain: Rpc, found: pb.ModelRegistration, wallet: Wallet, function: str, arguments: tuple[Any, ...]
) -> tuple[str, tuple[int, int, int], tuple[int, int]]:
    """The transaction; what is announced after it, with from when on it can be made; and the split that holds."""
    if wallet.account != found.developer:
        raise ValueError(
            f"{found.revision} is {found.developer.removeprefix('accounts/')}'s, and this key is {wallet.address}'s: "
            "its developer alone can change the split"
        )
    digest = bytes.fromhex(found.revision.rpartition("/")[2])
    sent = chain.send(wallet, found.contract, REGISTRY, function, digest, *arguments)
    (announced,) = chain.read(REGISTRY, found.contract, "changeOf", digest)
    ((*_, developer_bps, stakers_bps, _),) = chain.read(REGISTRY, found.contract, "revisionOf", digest)
    return sent, announced, (developer_bps, stakers_bps)


async def _registered(client: Client, revision: str) -> pb.ModelRegistration:
    from openledger.ledger.v1 import ledger_pb2 as pb

    found: pb.ModelRegistration = await client.call(
        client.ledger.GetModelRegistration, pb.GetModelRegistrationRequest(revision=revision)
    )
    return found


async def _splits(client: Client, revision: str) -> list[pb.SplitVersion]:
    from openledger.ledger.v1 import ledger_pb2 as pb

    found, token = [], ""
    while True:
        request = pb.ListSplitsRequest(revision=revision, page_size=1000, page_token=token)
        page = await client.call(client.ledger.ListSplits, request)
        found += page.splits
        token = page.next_page_token
        if not token:
            return found


def _dump(found: pb.ModelRegistration, splits: list[pb.SplitVersion]) -> None:
    from google.protobuf.json_format import MessageToDict

    def plain(message: Any) -> Any:
        return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)

    sys.stdout.write(json.dumps({"registration": plain(found), "splits": [plain(one) for one in splits]}, indent=2))
    sys.stdout.write("\n")


def _show(found: pb.ModelRegistration, splits: list[pb.SplitVersion]) -> None:
    typer.echo(f"{found.revision}, of {found.developer.removeprefix('accounts/')}; registry {found.contract}")
    for one in splits:
        until = f" until {_time(one.end_time.ToSeconds())}" if one.HasField("end_time") else ""
        typer.echo(f"  {_parts(one.split.developer_bps, one.split.stakers_bps)}")
        typer.echo(f"    since {_time(one.start_time.ToSeconds())}{until}, by {one.transaction} in block {one.block}")
    if found.HasField("announced_split"):
        parts = _parts(found.announced_split.developer_bps, found.announced_split.stakers_bps)
        typer.echo(f"  announced: {parts}, which can be made from {_time(found.announced_split_time.ToSeconds())} on")


def _words(sent: str, announced: tuple[int, int, int], now: tuple[int, int]) -> str:
    lines = [f"Sent as {sent}.", f"On chain: {_parts(*now)}"]
    if announced[2]:
        lines.append(f"Announced: {_parts(*announced[:2])}, which can be made from {_time(announced[2])} on")
    return "\n".join(lines)


def _parts(developer: int, stakers: int) -> str:
    rest = WHOLE - developer - stakers
    return f"developer {developer / 100:g} %, stakers {stakers / 100:g} %, contributors {rest / 100:g} %"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
