"""openledger.ledger.v1.LedgerService: requests in, messages out.  What they mean is decided elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.longrunning import operations_pb2
from google.protobuf.message import Message
from sqlalchemy import Connection

from openledger import names, spending
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from openledger.money import parse_atomic
from openledger.recover import address_of
from openledger.spending import SpendingAuthorisation
from services.kit import call
from services.kit.database import Database
from services.kit.errors import denied, invalid, not_found
from services.kit.idempotency import Idempotency
from services.ledger import anchor, contract_wallets, correct, register, spend, wire
from services.ledger.chain import Chain
from services.ledger.claims_book import ClaimsBook
from services.ledger.closing import Closing
from services.ledger.config import LedgerConfig
from services.ledger.consume import Receipts
from services.ledger.errands import Errand, Errands
from services.ledger.gas_price import GasPrices
from services.ledger.registries import Split
from services.ledger.relay import Relay
from services.ledger.reports import Reports
from services.ledger.servicer_relay import RelayMethods, address_in, asked, own
from services.ledger.split_book import SplitBook
from services.ledger.store import epochs
from services.ledger.store.epochs import Anchoring, Epoch
from services.ledger.store.registrations import Registration
from services.ledger.sums import Sums

M = TypeVar("M", bound=Message)
E = TypeVar("E", bound=Errand)


@dataclass(frozen=True)
class Parts:
    """What the servicer speaks to."""

    config: LedgerConfig
    database: Database
    chain: Chain
    idempotency: Idempotency
    receipts: Receipts | None
    splits: SplitBook
    relay: Relay
    claims: ClaimsBook
    anchorings: Errands[Anchoring]
    registrations: Errands[Registration]
    closing: Closing
    reports: Reports
    gas: GasPrices
    conservation: Sums


class LedgerServicer(RelayMethods, ledger_pb2_grpc.LedgerServiceServicer):
    """The ledger's API."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._times = parts.config.times

    async def GetSettlementInfo(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.SettlementInfo:
        config, at = self._parts.config, self._parts.chain.contracts
        rule = config.rule
        return ledger_pb2.SettlementInfo(
            chain_id=self._parts.chain.chain_id,
            contracts={
                "OpenToken": at.token,
                "InferenceEscrow": at.escrow,
                "RewardsDistributor": at.distributor,
                "DatanetRegistry": at.registry,
                "ModelRegistry": at.models,
            },
            challenge_window_seconds=config.challenge_window_seconds,
            rule=ledger_pb2.SplitRule(**rule.to_json(), sha256=rule.digest()),
            platform=names.account(config.platform),
            rpc_url=config.told_rpc_url,
            claim_fee=str(config.claim_fee),
            artifacts_url=config.artifacts_url,
        )

    async def GetBalance(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Balance:
        return await self._balance(own(request.account))

    async def ListPostings(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.ListPostingsResponse:
        return await self._parts.reports.postings(own(request.account), request.page_size, request.page_token)

    async def GetPayout(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Payout:
        async def look() -> Any:
            return await self._parts.reports.payout(request.response)

        booked = self._parts.receipts.booked if self._parts.receipts else None
        found = await (booked.until(look, request.wait_seconds) if booked else look())
        caller = call.principal().address
        # Whether an answer was booked is its payer's and payees' business: to others it is not there.
        if found is None or caller not in {found.payer, *found.payees}:
            raise await self._parts.reports.no_payout(request.response, caller)
        return wire.payout(found)

    async def ListEpochPayouts(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> ledger_pb2.ListEpochPayoutsResponse:
        size, token, reports = request.page_size, request.page_token, self._parts.reports
        epoch = (await self._epoch(request.epoch)).number if request.epoch else None
        if request.account:
            return await reports.given_to(address_in(request.account), epoch, size, token)
        if epoch is None:
            raise invalid("NOTHING_NAMED", "epoch, account: name one of them, or both", "epoch")
        return await reports.given_by(epoch, size, token)

    async def GetGasPrice(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.GasPrice:
        return await self._parts.gas.now()

    async def GetConservation(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Conservation:
        return await self._parts.conservation.now()

    async def AuthoriseSpending(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Balance:
        address, cap, now = own(request.account), parse_atomic(request.cap), time.time()
        authorisation = SpendingAuthorisation(address, cap, request.deadline)
        caller = call.principal().name
        empty = ledger_pb2.Balance(account=request.account)

        def known(connection: Connection) -> bool:
            again = self._parts.idempotency.recall(
                connection, caller, "AuthoriseSpending", request.request_id, request, ledger_pb2.Balance
            )
            return again is not None

        if not await self._parts.database.read(known):
            spend.check_deadline(request.deadline, self._times, now)
            if not await asyncio.to_thread(self._authorised, authorisation, request.signature):
                raise invalid(
                    "BAD_SIGNATURE",
                    f"signature: is not one of {request.account} over this cap and deadline for the escrow contract",
                    "signature",
                )

        def write(connection: Connection) -> None:
            if not known(connection):
                spend.authorise(connection, address, cap, request.deadline, request.signature, now)
                self._parts.idempotency.remember(
                    connection, caller, "AuthoriseSpending", request.request_id, request, empty
                )

        await self._parts.database.write(write)
        return await self._balance(address)

    async def AcquireLease(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Lease:
        address, amount = address_in(request.account), parse_atomic(request.amount)
        return await self._once(
            ledger_pb2.Lease,
            "AcquireLease",
            request,
            lambda c: wire.lease(spend.acquire(c, address, amount, self._times, time.time())),
        )

    async def ReleaseLease(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Lease:
        used = parse_atomic(request.used)
        return await self._once(
            ledger_pb2.Lease, "ReleaseLease", request, lambda c: wire.lease(spend.release(c, request.name, used))
        )

    async def CloseEpoch(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        if call.principal().address not in self._parts.config.operators:
            raise denied(
                "NOT_AN_OPERATOR", "epochs are closed by operators; they are named in OPENLEDGER_LEDGER_OPERATORS"
            )
        return await self._parts.closing.close(asked(request))

    async def GetEpoch(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Epoch:
        return wire.epoch(await self._epoch(request.name))

    async def ListEpochs(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.ListEpochsResponse:
        return await self._parts.reports.epochs(request.page_size, request.page_token)

    async def GetClaim(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Claim:
        return wire.claim(await self._parts.claims.claimable(address_in(request.account)))

    async def CorrectJournal(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.Correction:
        operators = self._parts.config.operators
        if call.principal().address not in operators:
            raise denied("NOT_AN_OPERATOR", "journals are corrected by operators (OPENLEDGER_LEDGER_OPERATORS)")
        correction = correct.read(request.document, self._parts.chain, operators)
        return await self._once(
            ledger_pb2.Correction,
            "CorrectJournal",
            request,
            lambda c: wire.correction(correct.correct(c, correction, request.document)),
        )

    async def AnchorSnapshot(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        errand = anchor.read(request.snapshot, request.root, request.record_count)
        return await self._errand("AnchorSnapshot", request, self._parts.anchorings, errand)

    async def RegisterRevision(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        rule = self._parts.config.rule
        errand = register.read(request, Split(rule.developer_bps, rule.stakers_bps))
        return await self._errand("RegisterRevision", request, self._parts.registrations, errand)

    async def GetModelRegistration(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> ledger_pb2.ModelRegistration:
        return await register.shown(self._parts.database, self._parts.chain, request.revision)

    async def GetSplit(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.SplitVersion:
        when = request.time.ToSeconds() if request.HasField("time") else int(time.time())
        return await self._parts.splits.at(request.revision, when)

    async def ListSplits(self, request: Any, context: grpc.aio.ServicerContext) -> ledger_pb2.ListSplitsResponse:
        return await self._parts.splits.page(request.revision, request.page_size, request.page_token)

    async def _errand(self, method: str, request: Any, errands: Errands[E], errand: E) -> Any:
        owner = call.principal().name
        operation = await self._once(
            operations_pb2.Operation, method, request, lambda c: errands.take(c, errand, owner)
        )
        errands.wake()
        return operation

    async def _once(self, kind: type[M], method: str, request: Any, act: Callable[[Connection], M]) -> M:
        """Do it in one transaction with its answer; a repeated request gets the first answer."""
        caller = call.principal().name

        def write(connection: Connection) -> M:
            known = self._parts.idempotency.recall(connection, caller, method, request.request_id, request, kind)
            if known is not None:
                return known
            answer = act(connection)
            self._parts.idempotency.remember(connection, caller, method, request.request_id, request, answer)
            return answer

        return await self._parts.database.write(write)

    async def _epoch(self, name: str) -> Epoch:
        number = names.match("epochs/*", name)[0]
        known = number.isdecimal() and len(number) < 19
        found = await self._parts.database.read(lambda c: epochs.get(c, int(number))) if known else None
        if found is None:
            raise not_found("EPOCH_NOT_FOUND", f"there is no {name}")
        return found

    async def _balance(self, address: str) -> ledger_pb2.Balance:
        return await self._parts.reports.balance(address)

    def _authorised(self, authorisation: SpendingAuthorisation, signature: bytes) -> bool:
        """As strict as the escrow, which will judge it again: by the payer's key, or by the payer's contract wallet."""
        at = self._parts.chain
        digest = spending.authorisation_digest(at.chain_id, at.contracts.escrow, authorisation)
        if address_of(digest, signature) == authorisation.payer:
            return True
        return contract_wallets.accepts(at, authorisation.payer, digest, signature)
