"""The edge over real gRPC: a service of the kit's own making, all stations passed."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import ClassVar

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from openledger.client import ApiError, Client
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from openledger.openlora.v1 import openlora_pb2, openlora_pb2_grpc
from services.kit.auth import ACCOUNTS, ANYONE, PUBLIC, Authenticator, Principal, services
from services.kit.call import Call
from services.kit.config import ServiceConfig
from services.kit.edge import Edge
from services.kit.errors import Fault, precondition
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


class Watched(openlora_pb2_grpc.OpenLoRAServiceServicer):
    """Streams that never end by themselves."""

    def __init__(self) -> None:
        self.watching = 0
        self.floods = []

    async def WatchTraces(self, request, context):
        self.watching += 1
        try:
            yield openlora_pb2.ReadTracesResponse(high_watermark=1)
            await asyncio.sleep(30)
        finally:
            self.watching -= 1

    def Generate(self, request, context):
        self.floods.append(self._flood())  # held here, so that nothing but the edge can close it
        return self.floods[-1]

    async def _flood(self):
        self.watching += 1
        try:
            while True:
                yield openlora_pb2.AnswerChunk(text="x" * 2**20)
        finally:
            self.watching -= 1


WATCHED = Watched()
EVERY, INFO = ledger_pb2.ListEpochsRequest(), ledger_pb2.GetSettlementInfoRequest()
ACCESS = {
    "WatchTraces": PUBLIC,
    "Generate": PUBLIC,
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
    config = ToyConfig(**settings("toy", tmp_path, max_rpcs_per_caller=2, max_rpc_seconds=1, max_stream_seconds=1))
    assembly = Assembly(
        config=config,
        services={
            "openledger.ledger.v1.LedgerService": lambda s: ledger_pb2_grpc.add_LedgerServiceServicer_to_server(
                Toy(), s
            ),
            "openledger.openlora.v1.OpenLoRAService": lambda s: openlora_pb2_grpc.add_OpenLoRAServiceServicer_to_server(
                WATCHED, s
            ),
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


async def test_who_fills_one_service_s_room_leaves_that_of_another_on_the_same_port(toy):
    """As signing in beside what anybody may ask the ledger."""
    async with Client(endpoints(ledger=toy[0], openlora=toy[0])) as client:
        slow = [asyncio.create_task(refused(client, client.ledger.ListEpochs, EVERY)) for _ in range(2)]
        await asyncio.sleep(0.2)
        assert (await refused(client, client.ledger.GetSettlementInfo, INFO)).reason == "TOO_MANY_CALLS"
        stream = client.openlora.WatchTraces(openlora_pb2.WatchTracesRequest())
        assert (await stream.read()).high_watermark == 1
        stream.cancel()
        await asyncio.gather(*slow)


def test_machines_of_those_who_do_not_sign_in_count_each_by_itself_and_all_together():
    many = {"max_rpc_seconds": 1, "max_stream_seconds": 1}
    edge = Edge("toy", {}, None, Metrics("toy"), max_rpcs_per_caller=1, max_rpcs_of_anyone=2, **many)
    anyone = Call("/openledger.ledger.v1.LedgerService/ListEpochs", "r", ANYONE)
    signed_in = Call(anyone.method, "r", Principal(address="0xa"))

    def refused_from(entered, peer):
        with pytest.raises(Fault) as caught, edge._admitted(entered, peer):
            pass
        return caught.value.message

    with edge._admitted(anyone, "ipv4:10.0.0.1:5"):
        assert "from ipv4:10.0.0.1 has 1 calls" in refused_from(anyone, "ipv4:10.0.0.1:6")
        with edge._admitted(anyone, "ipv6:[::1]:7"), edge._admitted(signed_in, "ipv4:10.0.0.1:8"):
            assert "LedgerService has 2 calls" in refused_from(anyone, "ipv4:10.0.0.2:5")
            assert "accounts/0xa has 1 calls" in refused_from(signed_in, "ipv4:10.0.0.3:8")
    assert not edge._in_hand


async def test_no_stream_lasts_for_ever(toy):
    async with Client(endpoints(openlora=toy[0])) as client:
        with pytest.raises(ApiError) as caught:
            async for _ in client.stream(client.openlora.WatchTraces, openlora_pb2.WatchTracesRequest(), 20):
                pass
    assert caught.value.reason == "TOO_SLOW"
    assert WATCHED.watching == 0


async def test_a_stream_that_its_caller_leaves_gives_its_place_back(toy):
    async with Client(endpoints(openlora=toy[0])) as client:
        for _ in range(3):  # more than a caller may have at once
            stream = client.stream(client.openlora.WatchTraces, openlora_pb2.WatchTracesRequest(), 20)
            assert (await anext(stream)).high_watermark == 1
            await stream.aclose()
            async with asyncio.timeout(5):
                while WATCHED.watching:
                    await asyncio.sleep(0.01)


async def test_who_watches_health_takes_nobody_elses_place_and_can_be_asked_besides(toy):
    async with grpc.aio.insecure_channel(toy[0]) as channel, Client(endpoints(ledger=toy[0])) as client:
        health = health_pb2_grpc.HealthStub(channel)
        watching = [health.Watch(health_pb2.HealthCheckRequest(), timeout=20) for _ in range(2)]
        for watch in watching:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Watch(health_pb2.HealthCheckRequest(), timeout=20).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        info = await client.call(client.ledger.GetSettlementInfo, ledger_pb2.GetSettlementInfoRequest())
        assert info.chain_id == 7
        for watch in watching:
            watch.cancel()


async def test_a_stream_ends_with_its_reader_even_in_the_middle_of_a_message(toy):
    request = openlora_pb2.GenerateRequest(model="base", prompt="x", request_id=str(uuid.uuid4()))
    async with Client(endpoints(openlora=toy[0])) as client:
        stream = client.stream(client.openlora.Generate, request, 30)
        await anext(stream)
        await asyncio.sleep(0.2)  # what nobody reads is stuck half-way by now
        assert WATCHED.watching == 1
        await stream.aclose()
        async with asyncio.timeout(0.7):
            while WATCHED.watching:
                await asyncio.sleep(0.01)
