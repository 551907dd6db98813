"""Transactions that the relayer sends and pays for on people's behalf: deposits, claims, and what was claimed sent on.

What somebody signed is judged here as strictly as the contracts will judge it: nobody waits for what must fail.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from google.protobuf.message import Message
from sqlalchemy import Connection

from openledger import canonical, spending
from openledger.ledger.v1 import ledger_pb2
from openledger.recover import address_of
from openledger.spending import SignedClaim, Transfer
from services.kit.database import Database
from services.kit.errors import Fault, invalid, precondition
from services.kit.idempotency import Idempotency
from services.ledger import calls, contract_wallets, sending, wire
from services.ledger.calls import ClaimLeaf
from services.ledger.chain import Call, Chain
from services.ledger.chain_follower import ChainFollower
from services.ledger.chain_writer import ChainWriter
from services.ledger.claims_book import Claimable, ClaimsBook
from services.ledger.journal import Kind
from services.ledger.relay_limits import Limits
from services.ledger.store import books
from services.ledger.store import chain as store
from services.ledger.store.chain import State, Transaction

# The contracts' names for what a payer can do something about.
_ADVICE = {
    "ERC20InsufficientAllowance": "the permit does not hold: it must be signed by the account for the escrow contract, "
    "over this amount and deadline, with the token's present nonce, and not be used yet",
    "ERC20InsufficientBalance": "the account does not have so much OPEN on chain",
    "ERC3009UsedAuthorization": "this authorisation was used already: its nonce is good once; sign another",
    "ERC3009InvalidAuthorizationTime": "the authorisation is over, or does not hold yet: sign another",
}
_NOBODY = "0x" + "0" * 40


@dataclass(frozen=True)
class Asked:
    """A request to relay something: who asked, and how the answer is found again."""

    caller: str
    request: Message
    request_id: str


class Relay:
    """Deposits and claims for others.

    `wait_seconds`: how long a call waits for its transaction.  `claim_fee`: kept of a claim that is paid elsewhere.
    """

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
        claim_fee: int,
        limits: Limits,
    ) -> None:
        self._database, self._chain, self._writer = database, chain, writer
        self._follower, self._claims, self._idempotency = follower, claims, idempotency
        self._wait, self._fee, self._limits = wait_seconds, claim_fee, limits

    async def deposit(
        self, asked: Asked, account: str, amount: int, deadline: int, permit: bytes
    ) -> ledger_pb2.Deposit:
        """Bring OPEN in by the account's permit.  Raises `Fault` when the chain will not."""
        _must_be_signed(amount, permit, "permit_signature")
        call = calls.deposit_with_permit(self._chain.contracts, account, amount, deadline, permit)
        return await self._deposit(asked, "RelayDeposit", account, amount, call)

    async def authorised_deposit(self, asked: Asked, transfer: Transfer, signature: bytes) -> ledger_pb2.Deposit:
        """Bring OPEN in by the account's signed transfer to the escrow.  Raises `Fault` when the chain will not."""
        _must_be_signed(transfer.amount, signature, "signature")
        if len(transfer.nonce) != 32:
            raise invalid("BAD_NONCE", "nonce: must be 32 bytes, never used before", "nonce")
        call = calls.deposit_with_authorization(self._chain.contracts, transfer, signature)
        typed = spending.transfer_message(self._chain.chain_id, self._chain.contracts.token, transfer)
        if spending.signer(typed, signature) != transfer.payer:
            raise invalid(
                "BAD_SIGNATURE",
                f"signature: is not one of accounts/{transfer.payer} over this ReceiveWithAuthorization to the escrow "
                "contract, in its one spelling",
                "signature",
            )
        return await self._deposit(asked, "RelayAuthorisedDeposit", transfer.payer, transfer.amount, call)

    async def _deposit(self, asked: Asked, method: str, account: str, amount: int, call: Call) -> ledger_pb2.Deposit:
        self._limits.check_deposit(amount)
        key = f"deposit:{account}:{asked.request_id}"
        answer = ledger_pb2.Deposit(account=f"accounts/{account}", amount=str(amount))
        await self._database.write(lambda c: self._plan(c, asked, method, key, call, answer))
        until = time.monotonic() + self._wait
        transaction = await self._ended(key, until)
        if transaction is None:
            return answer
        if transaction.state is State.FAILED:
            raise precondition(
                "DEPOSIT_REFUSED",
                f"the chain refuses the deposit: {_advice(transaction)}",
                error=transaction.error[:500],
            )
        answer.transaction = transaction.hash
        answer.credited = await self._journaled(Kind.DEPOSIT, transaction.hash, until)
        return answer

    async def claim(self, asked: Asked, account: str) -> ledger_pb2.Claim:
        """Move what the account has earned to it.  Raises `Fault` when there is nothing, or the chain will not."""
        answer = await self._known_claim(asked, "RelayClaim") or await self._new_claim(asked, account)
        return await self._claimed(_claim_key(account, answer.epoch, answer.cumulative), answer)

    async def signed_claim(self, asked: Asked, signed: SignedClaim, signature: bytes) -> ledger_pb2.Claim:
        """Move what the account has earned to where it signed for.

        Raises `Fault` as `claim` does, and for what was signed.
        """
        method = "RelaySignedClaim"
        answer = await self._known_claim(asked, method)
        # One transaction for one signature, however many ask for it.
        key = f"claim:{signed.account}:signed:{canonical.sha256(signature)}"
        if answer is None:
            found = await self._claims.claimable(signed.account)
            self._check_claim(signed, found)
            if not await asyncio.to_thread(self._signed, signed, signature):
                raise invalid(
                    "BAD_SIGNATURE",
                    f"signature: is not one of accounts/{signed.account} over this ClaimTo for the distributor, in its "
                    "one spelling",
                    "signature",
                )
            answer = wire.claim(found)
            answer.to, answer.fee = f"accounts/{signed.to}", str(self._fee)
            call = calls.claim_with_sig(self._chain.contracts, found.epoch, signed, found.proof, signature, self._fee)
            await self._database.write(lambda c: self._plan(c, asked, method, key, call, answer))
        return await self._claimed(key, answer)

    async def transfer(self, asked: Asked, transfer: Transfer, signature: bytes) -> ledger_pb2.Transfer:
        """Send the account's OPEN where it signed for.

        Raises `Fault` for what was signed, when it is more than was claimed for the account, and when the chain will
        not.
        """
        sending.check(self._chain, transfer, signature)
        self._limits.check_transfer(transfer.amount)
        key = sending.key(transfer, signature)
        call = calls.transfer_with_authorization(self._chain.contracts, transfer, signature)
        who, to = f"accounts/{transfer.payer}", f"accounts/{transfer.to}"
        answer = ledger_pb2.Transfer(account=who, to=to, amount=str(transfer.amount))

        def plan(connection: Connection) -> None:
            known = store.get(connection, key)
            self._plan(connection, asked, "RelayTransfer", key, call, answer)
            if known is None or known.state is State.FAILED:
                sending.check_claimed(connection, transfer.payer)

        await self._database.write(plan)
        transaction = await self._ended(key, time.monotonic() + self._wait)
        if transaction is not None and transaction.state is State.FAILED:
            raise precondition(
                "TRANSFER_REFUSED",
                f"the chain refuses the transfer: {_advice(transaction)}",
                error=transaction.error[:500],
            )
        if transaction is not None:
            answer.transaction = transaction.hash
        return answer

    def _check_claim(self, signed: SignedClaim, found: Claimable) -> None:
        if not found.amount:
            raise _claimed_already(found)
        self._limits.check_claim(found.amount)
        if signed.cumulative != found.cumulative:
            raise precondition(
                "STALE_CLAIM",
                f"cumulative: signed for {signed.cumulative}, and the leaf of accounts/{found.account} in "
                f"epochs/{found.epoch}, the newest that pays, is {found.cumulative}: sign that",
                cumulative=str(found.cumulative),
            )
        if self._fee > min(signed.max_fee, found.amount):
            raise precondition(
                "FEE_TOO_LOW",
                f"max_fee: the relayer keeps {self._fee}; {signed.max_fee} are allowed, and {found.amount} can "
                "be claimed",
                fee=str(self._fee),
            )
        if signed.to == _NOBODY:
            raise invalid("BAD_ADDRESS", "to: nobody holds the zero address", "to")
        if signed.deadline < time.time():
            raise invalid("BAD_DEADLINE", f"deadline: {signed.deadline} (Unix s) is over: sign a later one", "deadline")

    def _signed(self, signed: SignedClaim, signature: bytes) -> bool:
        """By the account's key, or taken by the contract wallet that the account is (ERC-1271)."""
        at = self._chain
        digest = spending.digest(spending.claim_message(at.chain_id, at.contracts.distributor, signed))
        if address_of(digest, signature) == signed.account:
            return True
        return contract_wallets.accepts(at, signed.account, digest, signature)

    async def _known_claim(self, asked: Asked, method: str) -> ledger_pb2.Claim | None:
        kind = ledger_pb2.Claim
        return await self._database.read(
            lambda c: self._idempotency.recall(c, asked.caller, method, asked.request_id, asked.request, kind)
        )

    async def _claimed(self, key: str, answer: ledger_pb2.Claim) -> ledger_pb2.Claim:
        """The answer once its transaction has ended, or as it is when the time is over."""
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
        self._limits.check_claim(found.amount)
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
        before = store.get(connection, key)
        store.plan(connection, key, call, again=True)
        if before is None or before.state is State.FAILED:
            self._limits.check_budget(connection, key)
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


def _advice(failed: Transaction) -> str:
    """What its signer can do about it, or what the chain says."""
    return next((text for name, text in _ADVICE.items() if name in failed.error), failed.error)


def _must_be_signed(amount: int, signature: bytes, field: str) -> None:
    if amount == 0:
        raise invalid("NOTHING_TO_DEPOSIT", "amount: a deposit of nothing", "amount")
    if len(signature) != 65:
        raise invalid("BAD_SIGNATURE", f"{field}: must be 65 bytes r, s, v, as wallets sign", field)


def _claim_key(account: str, epoch: str, cumulative: str) -> str:
    """One transaction for one leaf, however many ask for it."""
    return f"claim:{account}:{epoch}:{cumulative}"


def _claimed_already(found: Claimable) -> Fault:
    return precondition(
        "NOTHING_TO_CLAIM",
        f"accounts/{found.account} has claimed everything up to epochs/{found.epoch} already; what was paid to the "
        "account itself, RelayTransfer sends on",
        epoch=f"epochs/{found.epoch}",
        cumulative=str(found.cumulative),
    )
