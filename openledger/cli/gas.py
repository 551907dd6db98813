"""What gas costs, for people.  Asks the Ledger; computes nothing itself."""

from __future__ import annotations

import typer

from openledger.client import Client
from openledger.ledger.v1 import ledger_pb2 as pb
from openledger.money import format_open

_GWEI = 9
_WORDS = {
    "claim": "claim",
    "first_claim": "first claim of an account",
    "signed_claim": "claim paid elsewhere by signature",
    "deposit": "deposit",
    "root": "epoch's root",
    "redemption": "redemption of a hundred payers",
    "snapshot": "snapshot's root",
    "revision": "registration of a model",
}


async def asked(client: Client) -> pb.GasPrice:
    """The price now."""
    found: pb.GasPrice = await client.call(client.ledger.GetGasPrice, pb.GetGasPriceRequest())
    return found


def show(found: pb.GasPrice, only: tuple[str, ...] = ()) -> None:
    """The price, and a line for each transaction, or for those that are named."""
    offer = f"{_gwei(found.base_fee)} gwei and a tip of {_gwei(found.tip)}; at most {_gwei(found.most)} are offered"
    typer.echo(f"gas on chain {found.chain_id}: {offer}")
    for cost in found.costs:
        if not only or cost.transaction in only:
            money = f"  {cost.money} {found.currency}" if cost.money else ""
            # Ether has as many decimals as OPEN.
            ether, words = format_open(int(cost.wei), 18), _WORDS.get(cost.transaction, cost.transaction)
            typer.echo(f"{cost.gas:>12,} gas  {ether:>24} ether{money}  {words}")


def _gwei(wei: str) -> str:
    whole, places = divmod(int(wei), 10**_GWEI)
    return f"{whole}.{places:09d}".rstrip("0").rstrip(".")
