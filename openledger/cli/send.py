"""`openledger send`: OPEN of a key's own address sent on, by its signature; the ledger pays the gas.

Whoever has a key and no wallet has no ether.  What was claimed to the key's own address, which anybody may do on chain,
leaves it this way.  Asks ledger and chain; computes nothing itself.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Annotated

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port
from openledger.cli.money import answer, connection_of, units
from openledger.money import format_open

if TYPE_CHECKING:
    from openledger.client import Client
    from openledger.ledger.v1 import ledger_pb2 as pb

_HOLDS_SECONDS, _RELAYED = 3600, 180.0


def send(
    amount: Annotated[str, typer.Argument(help="OPEN to send, such as 2.5, or all.")],
    to: Annotated[str, typer.Option("--to", help="The address that gets it.")],
    rpc: Annotated[str, typer.Option("--rpc", help="For all: the chain's JSON-RPC; default: the ledger's.")] = "",
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Send OPEN that was claimed to your key's own address on to another one; the ledger pays the gas.

    For a key that has no ether, for which somebody claimed on chain: anybody may.

    Example: openledger send all --to 0x71c7656ec7ab88b098defb751b7401b5f6d8976f --key keys/alice.key
    """
    much = None if amount == "all" else units(amount)
    here = connection_of(data, first_port, key, at)
    answer(here, lambda client: _send(client, much, to.removeprefix("accounts/"), rpc), _show, as_json=as_json)


async def _send(client: Client, much: int | None, to: str, rpc: str) -> pb.Transfer:
    """Sign and ask; None: all that is there.  Raises `ValueError`, `RpcError`, `ApiError`."""
    from openledger import names, spending
    from openledger.cli import payments
    from openledger.client import request_id
    from openledger.ledger.v1 import ledger_pb2 as pb

    wallet, at, to = payments.own(client), await payments.info(client), names.address(to)
    token = at.contracts["OpenToken"]
    if much is None:
        much = await asyncio.to_thread(payments.chain_of(at, rpc).token_balance, token, wallet.address)
        if not much:
            raise ValueError(f"{wallet.address} holds no OPEN on chain {at.chain_id}")
    before, nonce = int(time.time()) + _HOLDS_SECONDS, secrets.token_bytes(32)
    transfer = spending.Transfer(wallet.address, to, much, 0, before, nonce)
    request = pb.RelayTransferRequest(
        account=wallet.account,
        to=f"accounts/{to}",
        amount=str(much),
        valid_before=before,
        nonce=nonce,
        signature=wallet.sign(spending.open_transfer_message(at.chain_id, token, transfer)),
        request_id=request_id(),
    )
    made: pb.Transfer = await client.call(client.ledger.RelayTransfer, request, _RELAYED)
    return made


def _show(found: pb.Transfer) -> None:
    amount, to = format_open(int(found.amount), 18), found.to.removeprefix("accounts/")
    how = f"sent to {to} by {found.transaction}" if found.transaction else f"on the way to {to}"
    typer.echo(f"{amount} OPEN {how}")
