"""What a payer does through the ledger: a deposit by a signed permit, and a signed limit on what may be spent."""

from __future__ import annotations

import asyncio
import time

from openledger import spending
from openledger.cli.rpc import Rpc
from openledger.client import Client, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2 as pb

_PERMIT_SECONDS, _RELAYED = 3600, 180.0


async def balance(client: Client) -> pb.Balance:
    """What the wallet's account has."""
    found: pb.Balance = await client.call(
        client.ledger.GetBalance, pb.GetBalanceRequest(account=_wallet(client).account)
    )
    return found


async def deposit(client: Client, amount: int, rpc: str = "") -> pb.Deposit:
    """Bring `amount` atomic units of the wallet in.

    The permit's nonce is asked of the chain, at `rpc` or where the ledger says: a permit is good once, so that a
    deposit that was broken off is not taken twice.  Raises `ValueError` for what the wallet does not have.
    """
    wallet, info = _wallet(client), await _info(client)
    chain = Rpc(rpc or info.rpc_url or _nowhere())
    token, escrow = info.contracts["OpenToken"], info.contracts["InferenceEscrow"]
    held = await asyncio.to_thread(chain.token_balance, token, wallet.address)
    if held < amount:
        raise ValueError(f"{wallet.address} holds {held} atomic units of OPEN on chain {info.chain_id}, not {amount}")
    nonce = await asyncio.to_thread(chain.permit_nonce, token, wallet.address)
    deadline = int(time.time()) + _PERMIT_SECONDS
    typed = spending.permit_message(
        info.chain_id, token, owner=wallet.address, spender=escrow, value=amount, nonce=nonce, deadline=deadline
    )
    request = pb.RelayDepositRequest(
        account=wallet.account,
        amount=str(amount),
        deadline=deadline,
        permit_signature=wallet.sign(typed),
        request_id=request_id(),
    )
    made: pb.Deposit = await client.call(client.ledger.RelayDeposit, request, _RELAYED)
    return made


async def allow(client: Client, seconds: int) -> pb.Balance:
    """Allow all that is deposited to be spent, for so long; returns the balance."""
    wallet, info, has = _wallet(client), await _info(client), await balance(client)
    cap, deadline = int(has.deposited) + int(has.spent), int(time.time()) + seconds
    authorisation = spending.SpendingAuthorisation(wallet.address, cap, deadline)
    typed = spending.authorisation_message(info.chain_id, info.contracts["InferenceEscrow"], authorisation)
    request = pb.AuthoriseSpendingRequest(
        account=wallet.account,
        cap=str(cap),
        deadline=deadline,
        signature=wallet.sign(typed),
        request_id=request_id(),
    )
    found: pb.Balance = await client.call(client.ledger.AuthoriseSpending, request)
    return found


async def _info(client: Client) -> pb.SettlementInfo:
    found: pb.SettlementInfo = await client.call(client.ledger.GetSettlementInfo, pb.GetSettlementInfoRequest())
    return found


def _wallet(client: Client) -> Wallet:
    if client.wallet is None:
        raise ValueError("only the owner of a key can do that: name it with --key")
    return client.wallet


def _nowhere() -> str:
    raise ValueError("the ledger does not say where its chain can be asked: name a JSON-RPC endpoint with --rpc")
