"""The edge over real gRPC: a service of the kit's own making, all stations passed."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import ClassVar

import grpc
import pytest

from openledger.client import ApiError, Client
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from services.kit.auth import ACCOUNTS, PUBLIC, Authenticator, services
from services.kit.config import ServiceConfig
from services.kit.errors import precondition
from services.kit.metrics import Metrics
from services.kit.server import Assembly
from services.kit.testing import SECRET, as_service, endpoints, served, settings


class ToyConfig(ServiceConfig):
    service: ClassVar[str] = "toy"


class Toy(ledger_pb2_grpc.LedgerServiceServicer):
    async def GetSettlementInfo(self, request, context):
        return ledger_pb2.SettlementInfo(chain_id=7)

    async def GetBalance(self, request, context):
        raise precondition("NO_MONEY", "bring some", account=request.account)

    async def AcquireLease(self, request, context):
        return ledger_pb2.Lease(amount=request.amount)

    async def GetConservation(self, request, context):
        raise ZeroDivisionError("a secret inside")

    async def ListEpochs(self, request, context):
        await asyncio.sleep(30)


ACCESS = {
    "GetSettlementInfo": PUBLIC,
    "GetBalance": services("toy", accounts=True),
    "AcquireLease": services("openlora"),
    "GetConservation": PUBLIC,
    "ListEpochs": PUBLIC,
    "GetPayout": ACCOUNTS,
}


async def no_keys() -> str:
    return '{"keys": []}'


@pytest.fixture
async def toy(tmp_path: Path):
    config = ToyConfig(**settings("toy", tmp_path, max_rpcs_per_caller=2, max_rpc_seconds=1))
    assembly = Assembly(
        config=config,
        services={
            "openledger.ledger.v1.LedgerService": lambda s: ledger_pb2_grpc.add_LedgerServiceServicer_to_server(
                Toy(), s
            )
        },
        access=ACCESS,
        authenticator=Authenticator(SECRET, no_keys),
        metrics=Metrics("toy"),
    )
    async with served(assembly) as where:
        yield where, assembly


async def refused(client: Client, method, request, **more) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await client.call(method, request, **more)
    return caught.value


async def test_a_public_method_answers_anyone(toy):
    async with Client(endpoints(ledger=toy[0])) as client:
        info = await client.call(client.ledger.GetSettlementInfo, ledger_pb2.GetSettlementInfoRequest())
    assert info.chain_id == 7


async def test_faults_arrive_whole(toy):
    account = "accounts/0x" + "a" * 40
    async with as_service("toy", ledger=toy[0]) as client:
        error = await refused(client, client.ledger.GetBalance, ledger_pb2.GetBalanceRequest(account=account))
    assert (error.code, error.reason, error.message) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_MONEY", "bring some")
    assert error.metadata == {"account": account}


async def test_what_is_open_to_services_is_closed_to_others(toy):
    request = ledger_pb2.AcquireLeaseRequest(account="accounts/0x" + "a" * 40, amount="1", request_id=str(uuid.uuid4()))
    async with Client(endpoints(ledger=toy[0])) as client:
        assert (await refused(client, client.ledger.AcquireLease, request)).reason == "SIGN_IN"
    async with as_service("factory", ledger=toy[0]) as client:
        assert (await refused(client, client.ledger.AcquireLease, request)).reason == "NOT_FOR_THIS_CALLER"
    async with as_service("openlora", ledger=toy[0]) as client:
        assert (await client.call(client.ledger.AcquireLease, request)).amount == "1"


async def test_a_method_that_states_no_callers_is_closed(toy):
    async with as_service("openlora", ledger=toy[0]) as client:
        error = await refused(client, client.ledger.GetEpoch, ledger_pb2.GetEpochRequest(name="epochs/1"))
    assert error.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_forged_token_is_refused(toy):
    from services.kit.auth import service_token

    client = Client(endpoints(ledger=toy[0]), token=lambda: service_token("x" * 32, "openlora"))
    async with client:
        error = await refused(client, client.ledger.GetBalance, ledger_pb2.GetBalanceRequest(account="accounts/x"))
    assert error.reason == "BAD_TOKEN"


async def test_invalid_fields_are_named(toy):
    request = ledger_pb2.AcquireLeaseRequest(account="nobody", amount="-1", request_id="x")
    async with as_service("openlora", ledger=toy[0]) as client:
        error = await refused(client, client.ledger.AcquireLease, request)
    assert error.reason == "INVALID_FIELD"
    assert error.message.startswith("account: 'nobody' is not a name of the form accounts/* (and 2 more)")


async def test_an_accident_inside_tells_nothing_of_the_inside(toy):
    async with Client(endpoints(ledger=toy[0])) as client:
        error = await refused(client, client.ledger.GetConservation, ledger_pb2.GetConservationRequest())
    assert error.code is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error)


async def test_slow_calls_end_and_callers_cannot_hold_more_than_their_part(toy):
    async with Client(endpoints(ledger=toy[0])) as client:
        calls = [refused(client, client.ledger.ListEpochs, ledger_pb2.ListEpochsRequest()) for _ in range(3)]
        reasons = sorted(e.reason for e in await asyncio.gather(*calls))
    assert reasons == ["TOO_MANY_CALLS", "TOO_SLOW", "TOO_SLOW"]
    samples = {
        (s.labels["method"], s.labels["code"]): s.value
        for metric in toy[1].metrics.registry.collect()
        for s in metric.samples
        if s.name == "openledger_toy_rpcs_total"
    }
    assert samples[("ListEpochs", "DEADLINE_EXCEEDED")] == 2
    assert samples[("ListEpochs", "RESOURCE_EXHAUSTED")] == 1
