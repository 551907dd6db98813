"""Two replicas of OpenLoRA over real gRPC: whose an answer is, and one payer's money set aside by both."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest

from openledger.client import ApiError
from openledger.openlora.v1 import openlora_pb2
from services.kit.server import StartError
from services.kit.testing import as_service
from tests.fake_engine import FakeEngine
from tests.openlora_world import PRICE, PRICES, World


@asynccontextmanager
async def two(world: World, **more):
    """Two replicas beside one ledger, asked by one payer: (world, client) of each."""
    a, b = (replace(world, folder=world.folder / name, assembly=None, at="") for name in "ab")
    async with (
        a.life(FakeEngine(), replica="a", **more) as client_a,
        b.life(FakeEngine(), replica="b", **more) as client_b,
    ):
        yield (a, client_a), (b, client_b)


async def refusal(awaitable) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await awaitable
    return caught.value


async def test_the_same_request_id_sent_to_two_is_two_answers_each_traced_and_charged(world):
    request_id = str(uuid.uuid4())
    async with two(world, **PRICES) as replicas:
        answers = [await each.ask(client, "hello", request_id=request_id) for each, client in replicas]
        again = [await each.ask(client, "hello", request_id=request_id) for each, client in replicas]
        traces = [await each.traces() for each, _ in replicas]
    assert [answer.response.rpartition(".")[0] for answer in answers] == ["responses/a", "responses/b"]
    assert len({answer.response.rpartition(".")[2] for answer in answers}) == 1
    assert [answer.summary for answer in again] == [answer.summary for answer in answers], "from the same one: once"
    assert [[trace.response for trace in each] for each in traces] == [[answer.response] for answer in answers]
    assert world.ledger.charged() == sum(int(answer.summary.fee) for answer in answers)


async def test_whoever_asks_the_wrong_replica_hears_which_one_has_it(world):
    async with two(world) as ((a, client_a), (_, client_b)):
        answer = await a.ask(client_a)
        trace = openlora_pb2.GetTraceRequest(name=answer.response)
        again = openlora_pb2.ReplayAnswerRequest(name=answer.response)
        errors = [
            await refusal(client_b.call(client_b.openlora.GetTrace, trace)),
            await refusal(client_b.call(client_b.openlora.ReplayAnswer, again)),
        ]
        assert (await client_a.call(client_a.openlora.GetTrace, trace)).response == answer.response
        named = [
            (await each.call(each.openlora.GetReplica, openlora_pb2.GetReplicaRequest()))
            for each in (client_a, client_b)
        ]
    for error in errors:
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "ANSWER_ELSEWHERE")
        assert (error.metadata["replica"], error.metadata["here"]) == ("a", "b")
        assert "the replica a gave it" in error.message
    assert [replica.name for replica in named] == ["a", "b"]
    assert len({replica.log_epoch for replica in named}) == 2


async def test_offsets_of_another_log_give_nothing_and_acknowledge_nothing(world, engine):
    async with world.life(engine) as client, as_service("attribution", openlora=world.at) as reader:
        await world.ask(client)
        epoch = (await reader.call(reader.openlora.GetReplica, openlora_pb2.GetReplicaRequest())).log_epoch

        async def read(**more):
            request = openlora_pb2.ReadTracesRequest(acknowledged_offset=1, **more)
            return await reader.call(reader.openlora.ReadTraces, request)

        foreign = await read(log_epoch="another", wait_seconds=5)
        assert (len(foreign.entries), foreign.high_watermark, foreign.log_epoch) == (0, 1, epoch)
        assert world.gauge("trace_lag") == 1
        own = await read(log_epoch=epoch)
        assert (len(own.entries), own.log_epoch) == (1, epoch)
        assert world.gauge("trace_lag") == 0


async def test_a_replica_does_not_start_on_anothers_answers(world, engine):
    async with world.life(engine) as client:
        await world.ask(client)
    with pytest.raises(StartError, match="OPENLEDGER_OPENLORA_REPLICA"):
        async with world.life(FakeEngine(), replica="b"):
            pass
    async with world.life(FakeEngine()) as client:
        assert (await world.ask(client)).summary is not None


async def test_two_replicas_never_spend_more_of_a_payers_money_than_there_is(world):
    most = PRICE.fee(5, 20)
    async with two(world, lease_chunk=2 * most, lease_idle_seconds=0.2, **PRICES) as replicas:
        world.ledger.balances[world.wallet.account] = had = 7 * most
        answers = await asyncio.gather(
            *(each.ask(client, f"n{n:04}", max_tokens=20) for n in range(40) for each, client in replicas)
        )
        paid = [answer for answer in answers if answer.summary is not None]
        assert {answer.reason for answer in answers} == {"", "INSUFFICIENT_BALANCE"}
        assert {answer.response[:12] for answer in paid} == {"responses/a.", "responses/b."}, "both found money"
    spent = sum(int(answer.summary.fee) for answer in paid)
    assert spent <= had
    assert world.ledger.charged() == spent, "what was set aside and not used is the payer's again"
    assert world.ledger.balances[world.wallet.account] == had - spent
