"""Several answers to one question: each is a response of its own, paid by itself."""

from __future__ import annotations

import uuid

import pytest

from openledger.client import ApiError
from openledger.openlora.v1 import openlora_pb2
from tests.openlora_world import PRICE, PRICES, until


def asking(count: int, request_id: str = "", **sampling) -> openlora_pb2.GenerateRequest:
    return openlora_pb2.GenerateRequest(
        model="base",
        prompt="hm",
        request_id=request_id or str(uuid.uuid4()),
        sampling=openlora_pb2.Sampling(max_tokens=50, **sampling),
        n=count,
    )


async def test_several_answers_come_in_one_stream_each_with_its_account(world, engine):
    texts, accounts, names = {}, {}, {}
    async with world.life(engine, **PRICES) as client:
        async for chunk in client.stream(client.openlora.Generate, asking(3, seed=5), 30):
            assert chunk.choice not in accounts, "something came after an answer's account"
            texts[chunk.choice] = texts.get(chunk.choice, "") + chunk.text
            names[chunk.choice] = chunk.response
            if chunk.HasField("summary"):
                accounts[chunk.choice] = chunk.summary
        traces = {trace.response: trace for trace in await world.traces()}
    assert set(accounts) == {0, 1, 2}
    assert len(traces) == 3
    for choice, name in names.items():
        assert traces[name].digest() == accounts[choice].trace_sha256
        assert traces[name].sampling["seed"] == 5 + choice
        assert texts[choice] == engine.text(traces[name].completion_token_ids)
        assert int(accounts[choice].fee) == PRICE.fee(2, accounts[choice].tokens_out)
    assert world.ledger.charged() == sum(trace.fee for trace in traces.values())


async def test_in_one_message_too_and_more_of_them_later(world, engine):
    request_id = str(uuid.uuid4())
    async with world.life(engine, **PRICES) as client:
        one = await client.call(client.openlora.GenerateAnswer, asking(0, request_id))
        four = await client.call(client.openlora.GenerateAnswer, asking(4, request_id))
        traces = await world.traces()
    assert (four.response, four.text, four.summary) == (one.response, one.text, one.summary)
    assert len({four.response, *(other.response for other in four.others)}) == len(traces) == 4
    assert all(other.summary.trace_sha256 and not other.others for other in four.others)
    assert world.ledger.charged() == sum(trace.fee for trace in traces)


async def test_one_that_finds_no_room_does_not_stop_the_others_and_may_come_again(world, engine):
    request_id = str(uuid.uuid4())
    async with world.life(engine, max_running=1, max_queued=1, spare_turns=0, **PRICES) as client:
        with pytest.raises(ApiError) as caught:
            await client.call(client.openlora.GenerateAnswer, asking(3, request_id))
        assert len(await world.traces()) == 2
        with pytest.raises(ApiError):
            await client.call(client.openlora.GenerateAnswer, asking(9, request_id))
        answer = await client.call(client.openlora.GenerateAnswer, asking(3, request_id))
        traces = await world.traces()
    assert caught.value.reason == "QUEUE_FULL"
    assert len(answer.others) == 2
    assert len(traces) == len(engine.generated) == 3
    assert world.ledger.charged() == sum(trace.fee for trace in traces)


async def test_whoever_hangs_up_pays_for_what_there_is_of_each(world, engine):
    engine.gate.clear()
    engine.gate_after = 2
    async with world.life(engine, **PRICES) as client:
        stream, said = client.stream(client.openlora.Generate, asking(2), 30), {0: "", 1: ""}
        while min(map(len, said.values())) < 2:
            chunk = await anext(stream)
            said[chunk.choice] += chunk.text
        await stream.aclose()
        await until(lambda: not engine.running)
        await until(lambda: world.gauge("trace_log_high_watermark") == 2)
        traces = await world.traces()
    assert [(trace.finish_reason, len(trace.completion_token_ids)) for trace in traces] == [("cancelled", 2)] * 2
    assert world.ledger.charged() == sum(trace.fee for trace in traces) == 2 * PRICE.fee(2, 2)
