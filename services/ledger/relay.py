"""Transactions that the relayer sends and pays for on people's behalf: deposits by permit, claims."""

from __future__ import annotations

import time
from dataclasses import dataclass

from google.protobuf.message import Message
from sqlalchemy import Connection

from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database
from services.kit.errors import Fault, invalid, precondition
from services.kit.idempotency import Idempotency
from services.ledger import calls, wire
from services.ledger.calls import ClaimLeaf
from services.ledger.chain import Call, Chain
from services.ledger.chain_follower import ChainFollower
from services.ledger.chain_writer import ChainWriter
from services.ledger.claims_book import Claimable, ClaimsBook
from services.ledger.journal import Kind
from services.ledger.store import books
from services.ledger.store import chain as store
from services.ledger.store.chain import State, Transaction

# The contracts' names for what a payer can do something about.
_DEPOSIT_ADVICE = {
    "ERC20InsufficientAllowance": "the permit does not hold: it must be signed by the account for the escrow contract, "
    "over this amount and deadline, with the token's present nonce, and not be used yet",
    "ERC20InsufficientBalance": "the account does not have so much OPEN on chain",
}


@dataclass(frozen=True)
class Asked:
    """A request to relay something: who asked, and how the answer is found again."""

    caller: str
    request: Message
    request_id: str


class Relay:
    """Deposits and claims for others.  `wait_seconds`: how long a call waits for its transaction."""

    def __init__(
        self,
        database: Database,
        chain: Chain,
        writer: ChainWriter,
        follower: ChainFollower,
        claims: ClaimsBook,
        idempotency: Idempotency,
        *,
        wait_seconds: float,
    ) -> None:
        self._database, self._chain, self._writer = database, chain, writer
        self._follower, self._claims, self._idempotency = follower, claims, idempotency
        self._wait = wait_seconds

    async def deposit(
        self, asked: Asked, account: str, amount: int, deadline: int, permit: bytes
    ) -> ledger_pb2.Deposit:
        """Bring OPEN in by the account's permit.  Raises `Fault` when the chain will not."""
        if amount == 0:
            raise invalid("NOTHING_TO_DEPOSIT", "amount: a deposit of nothing", "amount")
        if len(permit) != 65:
            raise invalid(
                "BAD_SIGNATURE", "permit_signature: must be 65 bytes r, s, v, as wallets sign", "permit_signature"
            )
        call = calls.deposit_with_permit(self._chain.contracts, account, amount, deadline, permit)
        key = f"deposit:{account}:{asked.request_id}"
        answer = ledger_pb2.Deposit(account=f"accounts/{account}", amount=str(amount))
        await self._database.write(lambda c: self._plan(c, asked, "RelayDeposit", key, call, answer))
        until = time.monotonic() + self._wait
        transaction = await self._ended(key, until)
        if transaction is None:
            return answer
        if transaction.state is State.FAILED:
            advice = next((text for name, text in _DEPOSIT_ADVICE.items() if name in transaction.error), "")
            raise precondition(
                "DEPOSIT_REFUSED",
                f"the chain refuses the deposit: {advice or transaction.error}",
                error=transaction.error[:500],
            )
        answer.transaction = transaction.hash
        answer.credited = await self._journaled(Kind.DEPOSIT, transaction.hash, until)
        return answer

    async def claim(self, asked: Asked, account: str) -> ledger_pb2.Claim:
        """Move what the account has earned to it.  Raises `Fault` when there is nothing, or the chain will not."""
        kind = ledger_pb2.Claim
        answer = await self._database.read(
            lambda c: self._idempotency.recall(c, asked.caller, "RelayClaim", asked.request_id, asked.request, kind)
        )
        if answer is None:
            answer = await self._new_claim(asked, account)
        key = _claim_key(account, answer.epoch, answer.cumulative)
        until = time.monotonic() + self._wait
        transaction = await self._ended(key, until)
        if transaction is not None and transaction.state is State.FAILED:
            raise precondition(
                "CLAIM_REFUSED",
                f"the chain refuses the claim: {transaction.error}. If it was claimed elsewhere, nothing is left to do",
                error=transaction.error[:500],
            )
        if transaction is not None:
            answer.transaction = transaction.hash
            await self._journaled(Kind.CLAIM, transaction.hash, until)
        return answer

    async def _new_claim(self, asked: Asked, account: str) -> ledger_pb2.Claim:
        found = await self._claims.claimable(account)
        if not found.amount:
            raise _claimed_already(found)
        answer = wire.claim(found)
        leaf = ClaimLeaf(account, found.cumulative, found.proof)
        call = calls.claim(self._chain.contracts, found.epoch, leaf)
        key = _claim_key(account, answer.epoch, answer.cumulative)
        await self._database.write(lambda c: self._plan(c, asked, "RelayClaim", key, call, answer))
        return answer

    def _plan(self, connection: Connection, asked: Asked, method: str, key: str, call: Call, answer: Message) -> None:
        """Plan the transaction and remember the request, together; a repeated one finds what it began."""
        known = self._idempotency.recall(
            connection, asked.caller, method, asked.request_id, asked.request, type(answer)
        )
        store.plan(connection, key, call, again=True)
        if known is None:
            self._idempotency.remember(connection, asked.caller, method, asked.request_id, asked.request, answer)

    async def _ended(self, key: str, until: float) -> Transaction | None:
        self._writer.wake()
        return await self._writer.wait(key, until - time.monotonic())

    async def _journaled(self, kind: Kind, tx_hash: str, until: float) -> bool:
        """Whether the follower has seen the transaction's event by then."""
        self._follower.wake()

        async def look() -> bool | None:
            return await self._database.read(lambda c: books.has_cause(c, kind, tx_hash)) or None

        return bool(await self._follower.journaled.until(look, until - time.monotonic()))


def _claim_key(account: str, epoch: str, cumulative: str) -> str:
    """One transaction for one leaf, however many ask for it."""
    return f"claim:{account}:{epoch}:{cumulative}"


def _claimed_already(found: Claimable) -> Fault:
    return precondition(
        "NOTHING_TO_CLAIM",
        f"accounts/{found.account} has claimed everything up to epochs/{found.epoch} already",
        epoch=f"epochs/{found.epoch}",
        cumulative=str(found.cumulative),
    )
