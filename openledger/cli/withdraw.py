"""`openledger withdraw`: a payer's money back out of escrow: asked for, waited for, taken.

The escrow gives it to its payer alone, by the payer's own transactions: no signature stands in for them, so that no
relayer can pay the gas and the wallet needs some ether.  What answers have cost by then, the ledger takes first; the
delay is there for that.  Asks chain and ledger; computes nothing itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run
from openledger.cli.money import connection_of, units
from openledger.money import format_open

if TYPE_CHECKING:
    from openledger.cli.rpc import Rpc
    from openledger.client import Client, Wallet

ESCROW = "InferenceEscrow"


@dataclass(frozen=True)
class Withdrawal:
    """Amounts in atomic units.  `asked`: of the request that stands; `can`: what of the deposits can be asked for.

    `ready`: Unix seconds from which on it can be taken, 0 where nothing was asked for; `now`: the chain's time.
    `taken`: by this command; `transaction`: of this command, if it sent one.
    """

    account: str
    asked: int
    can: int
    ready: int
    now: int
    taken: int = 0
    transaction: str = ""


def withdraw(
    amount: Annotated[str, typer.Argument(help="OPEN to ask for, such as 2.5, or all; without: how it stands.")] = "",
    finish: Annotated[bool, typer.Option("--finish", help="Take what was asked for, once its time has come.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Ask for nothing any more.")] = False,
    rpc: Annotated[str, typer.Option("--rpc", help="The chain's JSON-RPC; default: what the ledger says.")] = "",
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Get what you deposited and did not spend back to your wallet: ask, wait, and --finish.  Your wallet pays the gas.

    Asking again replaces what was asked for.  What is asked for cannot be spent on answers meanwhile.

    Example: openledger withdraw 2.5 --key keys/alice.key
    """
    if sum((bool(amount), finish, cancel)) > 1:
        raise typer.BadParameter("AMOUNT, --finish and --cancel are three things: one at a time")
    wanted = None if amount in {"", "all"} else units(amount)

    def act(chain: Rpc, escrow: str, wallet: Wallet, can: int) -> Withdrawal:
        if finish:
            return _finish(chain, escrow, wallet, can)
        if cancel:
            return _ask(chain, escrow, wallet, can, 0)
        if amount:  # all of nothing is refused as too much: asking for 0 would take a request back
            return _ask(chain, escrow, wallet, can, wanted or can or 1)
        return _status(chain, escrow, wallet, can)

    found = run(lambda: _work(connection_of(data, first_port, key, at), rpc, act))
    typer.echo(json.dumps({k: str(v) for k, v in asdict(found).items()}, indent=2) if as_json else _words(found))


async def _work(connection: Connection, rpc: str, act: Callable[[Rpc, str, Wallet, int], Withdrawal]) -> Withdrawal:
    """Act with the wallet's key on the chain of the ledger.  Raises `ValueError`, `RpcError`, `ApiError`."""
    async with connection.client() as client:
        chain, escrow, can = await _where(client, rpc)
        return await asyncio.to_thread(act, chain, escrow, client.wallet, can)


async def _where(client: Client, rpc: str) -> tuple[Rpc, str, int]:
    """The chain, the escrow, and what is neither spent nor set aside for answers."""
    from openledger.cli import payments

    info, has = await payments.info(client), await payments.balance(client)
    can = max(0, int(has.deposited) - int(has.leased))
    return payments.chain_of(info, rpc), info.contracts[ESCROW], can


def _status(chain: Rpc, escrow: str, wallet: Wallet, can: int, **told: Any) -> Withdrawal:
    asked, ready = chain.read(ESCROW, escrow, "withdrawals", wallet.address)
    # The newest block of a quiet chain may be old; the next one has the time of now.
    now = max(int(time.time()), int(chain.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16))
    return Withdrawal(wallet.account, asked, can, ready, now, **told)


def _ask(chain: Rpc, escrow: str, wallet: Wallet, can: int, wanted: int) -> Withdrawal:
    if wanted > can:
        raise ValueError(
            f"{format_open(can, 18)} OPEN can be asked for: what was deposited, less what was spent and what is set "
            "aside for answers under way"
        )
    sent = chain.send(wallet, escrow, ESCROW, "initiateWithdraw", wanted)
    return _status(chain, escrow, wallet, can, transaction=sent)


def _finish(chain: Rpc, escrow: str, wallet: Wallet, can: int) -> Withdrawal:
    before = _status(chain, escrow, wallet, can)
    if not before.ready:
        raise ValueError("nothing was asked for: openledger withdraw AMOUNT asks")
    sent = chain.send(wallet, escrow, ESCROW, "finalizeWithdraw")
    paid = chain.event(sent, ESCROW, "Withdrawn")["amount"]
    return _status(chain, escrow, wallet, can, transaction=sent, taken=paid)


def _words(found: Withdrawal) -> str:
    who = found.account.removeprefix("accounts/")
    if found.taken:
        return f"{format_open(found.taken, 18)} OPEN went to {who} by {found.transaction}"
    by = f" by {found.transaction}" if found.transaction else ""
    if not found.ready:
        return f"Nothing is asked for{by}; {format_open(found.can, 18)} OPEN can be."
    when = datetime.fromtimestamp(found.ready, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    state = (
        "can be taken now, with --finish" if found.ready <= found.now else f"can be taken from {when} on, with --finish"
    )
    return f"{format_open(found.asked, 18)} OPEN are asked for{by}, and {state}"
