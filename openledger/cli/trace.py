"""`openledger trace`: one answer's way, from the question to the chain, by its id alone.

Asks Attribution and the Ledger, which tell it to who paid, to whom it pays, and to operators; computes nothing itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import grpc
import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run

if TYPE_CHECKING:
    from openledger.client import Client

_PREFIXES = ("responses/", "receipts/")
_STATES = {
    "SEALED": "its root is on its way to the chain",
    "PROPOSED": "its root is on chain, and may still be struck out",
    "ACTIVE": "can be claimed",
    "VETOED": "its root was struck out; it is settled anew",
}


@dataclass(frozen=True)
class Way:
    """What each station says of the answer, as JSON has it; None where it has not come there.

    `missing`: why it is not at its end yet; empty once it can be claimed, or was taken back.
    """

    response: str
    receipt: dict[str, Any] | None = None
    payout: dict[str, Any] | None = None
    epoch: dict[str, Any] | None = None
    missing: str = ""


def trace(
    response: Annotated[str, typer.Argument(help="The answer: responses/<id>, receipts/<id>, or the id alone.")],
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for receipt and booking.")] = 0.0,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Follow an answer from who answered it to the epoch that settles it on chain, and say where it is.

    Ask as who paid, or as somebody whom it pays.  The same id is in the services' logs (docs/logs.md): `response`.
    Exit status 2: it has not come to its end yet.

    Example: openledger trace responses/6f1c... --key keys/payer.key
    """
    name = response
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)

    async def ask() -> Way:
        async with Connection(data, first_port, key, tuple(at or ()), makes_key=False).client() as client:
            return await follow(client, name, wait)

    way = run(ask)
    if as_json:
        sys.stdout.write(json.dumps(vars(way)) + "\n")
    else:
        for line in lines(way):
            typer.echo(line)
    if way.missing:
        raise typer.Exit(2)


async def follow(client: Client, name: str, wait: float) -> Way:
    """From station to station, until one does not have it yet.  Raises `ApiError` for any other trouble."""
    from google.protobuf.json_format import MessageToDict

    from openledger.attribution.v1 import attribution_pb2
    from openledger.ledger.v1 import ledger_pb2

    patience, stations = wait + 30, []
    asked = attribution_pb2.GetReceiptRequest(name=f"receipts/{name}", wait_seconds=wait)
    receipt, why = await _unless_missing(client.call(client.attribution.GetReceipt, asked, patience))
    if receipt is not None:
        stations.append(json.loads(receipt.document) | {"sha256": receipt.sha256})
        paid = ledger_pb2.GetPayoutRequest(response=f"responses/{name}", wait_seconds=wait)
        payout, why = await _unless_missing(client.call(client.ledger.GetPayout, paid, patience))
        if payout is not None:
            stations.append(MessageToDict(payout, preserving_proto_field_name=True))
            if payout.epoch:
                epoch = await client.call(client.ledger.GetEpoch, ledger_pb2.GetEpochRequest(name=payout.epoch))
                stations.append(MessageToDict(epoch, preserving_proto_field_name=True))
                why = "" if epoch.state == ledger_pb2.EPOCH_STATE_ACTIVE else "nothing of it can be claimed yet"
            elif not payout.correction:
                why = "no epoch has settled it yet: openledger epoch list says when the last one was closed"
    reached = dict(zip(("receipt", "payout", "epoch"), stations, strict=False))
    return Way(f"responses/{name}", **reached, missing=why)


async def _unless_missing(call: Awaitable[Any]) -> tuple[Any, str]:
    """What is answered, or None and why."""
    from openledger.client import ApiError

    try:
        return await call, ""
    except ApiError as error:
        if error.code is not grpc.StatusCode.NOT_FOUND:
            raise
        return None, str(error)


def lines(way: Way) -> list[str]:
    """A way, for people."""
    told = [way.response, *_answered(way.receipt), *_booked(way.payout), *_settled(way.epoch)]
    return [*told, f"  no further: {way.missing}"] if way.missing else told


def _answered(receipt: dict[str, Any] | None) -> list[str]:
    if receipt is None:
        return []
    model, contributors = receipt["model"], [who for who in receipt["shares"] if who.startswith("0x")]
    return [
        f"  answered    {receipt.get('end_time', '')}  by {model['adapter'] or model['base']}",
        f"              trace {receipt['trace_sha256']}",
        f"  attributed  to {len(contributors)} contributors, signed by {receipt['signer']}",
        f"              receipt {receipt['sha256']}",
    ]


def _booked(payout: dict[str, Any] | None) -> list[str]:
    from openledger.money import format_open

    if payout is None:
        return []
    found = [f"  booked      {format_open(int(payout['fee']), 18)} OPEN of {payout['payer']}"]
    return [*found, f"              taken back by {payout['correction']}"] if payout.get("correction") else found


def _settled(epoch: dict[str, Any] | None) -> list[str]:
    if epoch is None:
        return []
    state = epoch["state"].removeprefix("EPOCH_STATE_")
    found = [f"  settled     {epoch.get('create_time', '')}  in {epoch['name']}: {_STATES.get(state, state.lower())}"]
    if epoch.get("transaction"):
        found.append(f"              root {epoch['root']} by transaction {epoch['transaction']}")
    return [*found, f"              it waits: {epoch['held_up']}"] if epoch.get("held_up") else found
