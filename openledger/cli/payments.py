"""What people sign for the ledger: deposits, a limit on what may be spent, claims paid elsewhere, corrections."""

from __future__ import annotations

import asyncio
import secrets
import time

from openledger import corrections, names, spending
from openledger.cli.rpc import Rpc
from openledger.client import Client, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2 as pb

_PERMIT_SECONDS, _RELAYED = 3600, 180.0


async def balance(client: Client) -> pb.Balance:
    """What the wallet's account has."""
    found: pb.Balance = await client.call(client.ledger.GetBalance, pb.GetBalanceRequest(account=own(client).account))
    return found


async def deposit(client: Client, amount: int, rpc: str = "") -> pb.Deposit:
    """Bring `amount` atomic units of the wallet in.

    The permit's nonce is asked of the chain, at `rpc` or where the ledger says: a permit is good once, so that a
    deposit that was broken off is not taken twice.  Raises `ValueError` for what the wallet does not have.
    """
    wallet, at = own(client), await info(client)
    chain = chain_of(at, rpc)
    token, escrow = at.contracts["OpenToken"], at.contracts["InferenceEscrow"]
    held = await asyncio.to_thread(chain.token_balance, token, wallet.address)
    if held < amount:
        raise ValueError(f"{wallet.address} holds {held} atomic units of OPEN on chain {at.chain_id}, not {amount}")
    nonce = await asyncio.to_thread(chain.permit_nonce, token, wallet.address)
    deadline = int(time.time()) + _PERMIT_SECONDS
    typed = spending.permit_message(
        at.chain_id, token, owner=wallet.address, spender=escrow, value=amount, nonce=nonce, deadline=deadline
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


async def deposit_by_transfer(client: Client, amount: int) -> pb.Deposit:
    """Bring `amount` atomic units of the wallet in by a signed ERC-3009 transfer, for which the chain is not asked."""
    wallet, at = own(client), await info(client)
    before, nonce = int(time.time()) + _PERMIT_SECONDS, secrets.token_bytes(32)
    transfer = spending.Transfer(wallet.address, at.contracts["InferenceEscrow"], amount, 0, before, nonce)
    request = pb.RelayAuthorisedDepositRequest(
        account=wallet.account,
        amount=str(amount),
        valid_before=before,
        nonce=nonce,
        signature=wallet.sign(spending.transfer_message(at.chain_id, at.contracts["OpenToken"], transfer)),
        request_id=request_id(),
    )
    made: pb.Deposit = await client.call(client.ledger.RelayAuthorisedDeposit, request, _RELAYED)
    return made


async def claim_to(client: Client, to: str, max_fee: int) -> pb.Claim:
    """Have what the wallet's account has earned paid to another address, for at most that fee."""
    wallet, at = own(client), await info(client)
    found = await client.call(client.ledger.GetClaim, pb.GetClaimRequest(account=wallet.account))
    deadline = int(time.time()) + _PERMIT_SECONDS
    signed = spending.SignedClaim(wallet.address, to, int(found.cumulative), max_fee, deadline)
    typed = spending.claim_message(at.chain_id, at.contracts["RewardsDistributor"], signed)
    request = pb.RelaySignedClaimRequest(
        account=wallet.account,
        to=f"accounts/{to}",
        cumulative=found.cumulative,
        max_fee=str(max_fee),
        deadline=deadline,
        signature=wallet.sign(typed),
        request_id=request_id(),
    )
    made: pb.Claim = await client.call(client.ledger.RelaySignedClaim, request, _RELAYED)
    return made


async def correct(client: Client, response: str, reason: str) -> pb.Correction:
    """Take back what an answer was charged, by the wallet's signed word.  Raises `ValueError` for what is no answer."""
    names.match("responses/*", response)
    wallet, at = own(client), await info(client)
    document = corrections.sign(
        at.chain_id, at.contracts["RewardsDistributor"], f"inference:{response}", reason, wallet.private_key
    )
    request = pb.CorrectJournalRequest(document=document, request_id=request_id())
    made: pb.Correction = await client.call(client.ledger.CorrectJournal, request)
    return made


async def allow(client: Client, seconds: int) -> pb.Balance:
    """Allow all that is deposited to be spent, for so long; returns the balance."""
    wallet, at, has = own(client), await info(client), await balance(client)
    cap, deadline = int(has.deposited) + int(has.spent), int(time.time()) + seconds
    authorisation = spending.SpendingAuthorisation(wallet.address, cap, deadline)
    typed = spending.authorisation_message(at.chain_id, at.contracts["InferenceEscrow"], authorisation)
    request = pb.AuthoriseSpendingRequest(
        account=wallet.account,
        cap=str(cap),
        deadline=deadline,
        signature=wallet.sign(typed),
        request_id=request_id(),
    )
    found: pb.Balance = await client.call(client.ledger.AuthoriseSpending, request)
    return found


async def info(client: Client) -> pb.SettlementInfo:
    """How money moves at that ledger."""
    found: pb.SettlementInfo = await client.call(client.ledger.GetSettlementInfo, pb.GetSettlementInfoRequest())
    return found


def own(client: Client) -> Wallet:
    """The wallet that is signed in.  Raises `ValueError` where nobody is."""
    if client.wallet is None:
        raise ValueError("only the owner of a key can do that: name it with --key")
    return client.wallet


def chain_of(at: pb.SettlementInfo, rpc: str = "") -> Rpc:
    """The chain, at `rpc` or where the ledger says.  Raises `ValueError`."""
    return Rpc(rpc or at.rpc_url or _nowhere())


def _nowhere() -> str:
    raise ValueError("the ledger does not say where its chain can be asked: name a JSON-RPC endpoint with --rpc")
