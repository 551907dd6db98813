"""A ledger that keeps balances in memory and speaks the real protocol: leases, keys for sessions, terms of payment."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from openledger.identity.v1 import identity_pb2, identity_pb2_grpc
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from openledger.split import Rule
from services.kit.auth import PUBLIC, Authenticator, services
from services.kit.config import ServiceConfig
from services.kit.errors import precondition, unavailable
from services.kit.metrics import Metrics
from services.kit.server import Assembly
from services.kit.testing import SECRET, TestIssuer, served, settings


class ToyLedgerConfig(ServiceConfig):
    service: ClassVar[str] = "ledger"


class ToyLedger(ledger_pb2_grpc.LedgerServiceServicer, identity_pb2_grpc.IdentityServiceServicer):
    """`balances` by account; `leases` by name; `charged` of one is what it was given back with."""

    def __init__(self) -> None:
        self.issuer = TestIssuer()
        self.rule = Rule()
        self.balances: dict[str, int] = {}
        self.leases: dict[str, ledger_pb2.Lease] = {}
        self.open: set[str] = set()
        self.asked: list[int] = []
        self.away, self.lease_seconds = False, 3600
        self._by_request: dict[str, ledger_pb2.Lease] = {}

    async def AcquireLease(self, request, context):
        self._here()
        if request.request_id not in self._by_request:
            amount, balance = int(request.amount), self.balances.get(request.account, 0)
            self.asked.append(amount)
            if amount > balance:
                text = f"{request.account} can spend {balance}; deposit more OPEN"
                raise precondition("INSUFFICIENT_BALANCE", text, spendable=str(balance))
            self.balances[request.account] = balance - amount
            lease = ledger_pb2.Lease(
                name=f"leases/{len(self.leases) + 1}", account=request.account, amount=request.amount, charged="0"
            )
            lease.expire_time.FromSeconds(int(time.time()) + self.lease_seconds)
            self.leases[lease.name] = self._by_request[request.request_id] = lease
            self.open.add(lease.name)
        return self._by_request[request.request_id]

    async def ReleaseLease(self, request, context):
        self._here()
        lease = self.leases[request.name]
        if request.name in self.open:
            self.open.remove(request.name)
            lease.charged = request.used
            self.balances[lease.account] += int(lease.amount) - int(request.used)
        assert lease.charged == request.used, "a lease was given back twice, differently"
        return lease

    async def GetSettlementInfo(self, request, context):
        rule = ledger_pb2.SplitRule(**self.rule.to_json(), sha256=self.rule.digest())
        return ledger_pb2.SettlementInfo(chain_id=1, rule=rule, platform="accounts/0x" + "f" * 40)

    async def GetSplit(self, request, context):
        rule = self.rule
        rest = 10_000 - rule.developer_bps - rule.stakers_bps
        split = ledger_pb2.RevisionSplit(
            developer_bps=rule.developer_bps, stakers_bps=rule.stakers_bps, contributors_bps=rest
        )
        return ledger_pb2.SplitVersion(revision=request.revision, split=split, rule_sha256=rule.digest())

    async def ListKeys(self, request, context):
        return identity_pb2.ListKeysResponse(jwks=self.issuer.jwks)

    def _here(self) -> None:
        if self.away:
            raise unavailable("DATABASE_UNAVAILABLE", "back soon", retry_after=1)

    def charged(self) -> int:
        """What leases that were given back have used, together."""
        return sum(int(lease.charged) for lease in self.leases.values() if lease.name not in self.open)


@asynccontextmanager
async def toy_ledger(folder: Path) -> AsyncIterator[tuple[ToyLedger, str]]:
    """The ledger, serving, and its host:port."""
    ledger = ToyLedger()

    async def keys() -> str:
        return ledger.issuer.jwks

    assembly = Assembly(
        config=ToyLedgerConfig(**settings("ledger", folder)),
        services={
            "openledger.ledger.v1.LedgerService": lambda s: ledger_pb2_grpc.add_LedgerServiceServicer_to_server(
                ledger, s
            ),
            "openledger.identity.v1.IdentityService": lambda s: identity_pb2_grpc.add_IdentityServiceServicer_to_server(
                ledger, s
            ),
        },
        access={
            "AcquireLease": services("openlora"),
            "ReleaseLease": services("openlora"),
            "GetSettlementInfo": PUBLIC,
            "GetSplit": PUBLIC,
            "ListKeys": PUBLIC,
        },
        authenticator=Authenticator(SECRET, keys),
        metrics=Metrics("ledger"),
    )
    async with served(assembly) as where:
        yield ledger, where
