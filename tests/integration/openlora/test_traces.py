"""What is kept of answers, over real gRPC: sealed on disk, told to who paid, let go, and never answered twice."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest

from openledger.client import ApiError, Wallet
from openledger.openlora.v1 import openlora_pb2
from openledger.trace_proto import from_proto
from services.kit.server import StartError
from services.kit.testing import as_service
from tests.fake_engine import FakeEngine
from tests.openlora_world import PRICES, RICH, heard, until


def bytes_on_disk(folder) -> bytes:
    return b"".join(file.read_bytes() for file in sorted((folder / "openlora").glob("openlora.db*")))


async def read(world, after: int = 0, acknowledged: int = 0):
    request = openlora_pb2.ReadTracesRequest(after_offset=after, acknowledged_offset=acknowledged)
    async with as_service("attribution", openlora=world.at) as reader:
        return await reader.call(reader.openlora.ReadTraces, request)


async def until_gone(world) -> None:
    """Until the first traces were let go: the service looks when it starts."""

    async def look() -> None:
        while True:
            await read(world)
            await asyncio.sleep(0.05)

    with pytest.raises(ApiError) as caught:
        await asyncio.wait_for(look(), 5)
    assert (caught.value.reason, caught.value.code) == ("OFFSET_COMPACTED", grpc.StatusCode.OUT_OF_RANGE)


async def test_no_text_is_in_the_database_file_nor_in_its_journal(world, engine):
    prompt = "a secret that nobody else may read"
    async with world.life(engine) as client:
        answer = await world.ask(client, prompt, sampling={"stop": ["a stop text"]})
        [trace] = await world.traces()
        lively = bytes_on_disk(world.folder)
    assert answer.summary is not None
    closed = bytes_on_disk(world.folder)
    tokens = ",".join(map(str, trace.prompt_token_ids[:4])).encode()
    assert trace.dumps().count(tokens) == 1
    for data in (lively, closed):
        assert trace.response.removeprefix("responses/").encode() in data, "the answer is in it"
        for told in (b"secret that", answer.text.encode(), tokens, b"a stop text", b"prompt_token_ids"):
            assert told not in data


async def test_a_trace_is_told_to_who_paid_for_it_and_to_nobody_else(world, engine):
    async with world.life(engine) as client, world.client(Wallet.create()) as stranger:
        answer = await world.ask(client)
        request = openlora_pb2.GetTraceRequest(name=answer.response)
        trace = from_proto(await client.call(client.openlora.GetTrace, request))
        for who, name in ((stranger, answer.response), (client, "responses/" + "0" * 32)):
            with pytest.raises(ApiError) as caught:
                await who.call(who.openlora.GetTrace, openlora_pb2.GetTraceRequest(name=name))
            assert (caught.value.reason, caught.value.code) == ("ANSWER_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
        async with as_service("attribution", openlora=world.at) as service:
            with pytest.raises(ApiError) as caught:
                await service.call(service.openlora.GetTrace, request)
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert trace.digest() == answer.summary.trace_sha256


async def test_an_old_answer_is_never_given_nor_charged_anew(world, engine):
    request_id = str(uuid.uuid4())
    async with world.life(engine, **PRICES) as client:
        first = await world.ask(client, "once", request_id=request_id)
        await read(world, 1, acknowledged=1)
    # The lease was given back with the end of that life.
    async with world.life(FakeEngine(), trace_days=1e-9, **PRICES) as client:
        await until_gone(world)
        again = await world.ask(client, "once", request_id=request_id)
        other = await world.ask(client, "something else", request_id=request_id)
        with pytest.raises(ApiError) as caught:
            await client.call(client.openlora.GetTrace, openlora_pb2.GetTraceRequest(name=first.response))
        fresh = await world.ask(client, "once")
    for answer in (again, other):
        assert (answer.reason, answer.error.code) == ("ANSWER_EXPIRED", grpc.StatusCode.FAILED_PRECONDITION)
        assert answer.error.metadata["fee"] == first.summary.fee
        assert answer.error.metadata["trace_sha256"] == first.summary.trace_sha256
        assert "new request_id" in answer.error.message
    assert caught.value.reason == "ANSWER_EXPIRED"
    assert world.ledger.charged() == int(first.summary.fee) + int(fresh.summary.fee)


async def test_what_is_acknowledged_and_old_goes_and_reading_goes_on_after_it(world, engine):
    async with world.life(engine) as client:
        for number in range(3):
            await world.ask(client, f"{number}")
        await read(world, 2, acknowledged=2)
    async with world.life(FakeEngine()):
        await asyncio.sleep(0.3)
        assert len((await read(world)).entries) == 3, "90 days are not over"
    async with world.life(FakeEngine(), trace_days=1e-9) as client:
        assert world.gauge("trace_lag") == 1
        await until_gone(world)
        assert [entry.offset for entry in (await read(world, 2)).entries] == [3]
        assert (await world.ask(client, "more")).summary is not None
        assert (await read(world, 3)).high_watermark == 4


async def test_nothing_is_begun_while_too_many_answers_wait_to_be_attributed(world, engine):
    request_id = str(uuid.uuid4())
    async with world.life(engine, max_trace_lag=2, **PRICES) as client:
        first = await world.ask(client, "one", request_id=request_id)
        await world.ask(client, "two")
        assert world.gauge("trace_lag") == 2
        refused = await world.ask(client, "three")
        again = await world.ask(client, "one", request_id=request_id)
        made = len(engine.generated)
        await read(world, 1, acknowledged=1)
        after = await world.ask(client, "three")
    assert (refused.reason, refused.error.code) == ("TRACES_BEHIND", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert refused.error.retry_after == 30
    assert (made, again.summary) == (2, first.summary)
    assert after.summary is not None


async def forget(client) -> None:
    answer = await client.call(client.openlora.ForgetAnswers, openlora_pb2.ForgetAnswersRequest())
    assert answer.HasField("forget_time")


async def test_what_its_payer_forgets_nobody_reads_again_and_it_is_not_charged_anew(world, engine):
    request_id, other = str(uuid.uuid4()), Wallet.create()
    world.ledger.balances[other.account] = RICH
    async with world.life(engine, **PRICES) as client, world.client(other) as another:
        first = await world.ask(client, "a secret", request_id=request_id)
        theirs = await world.ask(another, "their own")
        wrapped = keys_on_disk(world)
        await forget(client)
        again = await world.ask(client, "a secret", request_id=request_id)
        with pytest.raises(ApiError, match="ANSWER_FORGOTTEN"):
            await client.call(client.openlora.ReplayAnswer, openlora_pb2.ReplayAnswerRequest(name=first.response))
        assert len((await read(world)).entries) == 2, "Attribution has it first"
        await read(world, 2, acknowledged=2)
        await until(lambda: len(keys_on_disk(world)) == 1)
        mine = openlora_pb2.GetTraceRequest(name=theirs.response)
        assert from_proto(await another.call(another.openlora.GetTrace, mine)).digest() == theirs.summary.trace_sha256
        gone = wrapped - keys_on_disk(world)
        lively = bytes_on_disk(world.folder)
        fresh = await world.ask(client, "a secret")
    async with world.life(FakeEngine(), **PRICES) as client:
        later = await world.ask(client, "a secret", request_id=request_id)
    for answer in (again, later):
        assert (answer.reason, answer.error.code) == ("ANSWER_FORGOTTEN", grpc.StatusCode.FAILED_PRECONDITION)
        assert answer.error.metadata["fee"] == first.summary.fee
        assert "unreadable for ever" in answer.error.message
    assert len(gone) == 1
    for data in (lively, bytes_on_disk(world.folder)):
        assert not any(key.encode() in data for key in gone)
    fees = (first, theirs, fresh)
    assert world.ledger.charged() == sum(int(answer.summary.fee) for answer in fees)


def keys_on_disk(world) -> set[str]:
    return set(world.storage().read_now(lambda c: c.exec_driver_sql("SELECT wrapped FROM payer_key").scalars().all()))


async def test_whether_everybody_may_have_it_stands_in_the_trace_and_belongs_to_the_question(world, engine):
    request_id = str(uuid.uuid4())
    async with world.life(engine) as client:
        await world.ask(client, "mine")
        for published in (True, True, False):
            request = openlora_pb2.GenerateRequest(
                model="base", prompt="yours", request_id=request_id, publish_trace=published
            )
            answer = await heard(client, client.openlora.Generate, request)
            assert answer.reason == ("" if published else "REQUEST_ID_REUSED")
        traces = await world.traces()
    assert [trace.published for trace in traces] == [False, True]
    assert len({trace.salt for trace in traces} - {""}) == 2


async def test_without_its_key_the_service_does_not_start_and_makes_no_other(world, engine):
    key = world.folder / "openlora" / "traces.key"
    async with world.life(engine) as client:
        await world.ask(client)
    text = key.read_bytes()
    key.unlink()
    with pytest.raises(StartError, match="Put it back"):
        async with world.life(FakeEngine()):
            pass
    assert not key.exists()
    key.write_bytes(text)
    key.chmod(0o600)
    async with world.life(FakeEngine()):
        assert len(await world.traces()) == 1
