"""OpenLoRA's main job over real gRPC: what is asked, answered, paid, listed and left behind."""

from __future__ import annotations

import asyncio
import hashlib
import uuid

import grpc
import pytest

from openledger.client import ApiError, Client
from openledger.money import Price
from openledger.openlora.v1 import openlora_pb2
from openledger.trace_proto import from_proto
from services.kit.testing import as_service, endpoints
from tests.openlora_world import PRICE, PRICES, heard


async def test_an_answer_streams_costs_what_it_says_and_leaves_its_trace(world, engine):
    async with world.life(engine, **PRICES) as client:
        answer = await world.ask(client, "how much?", max_tokens=50)
        [trace] = await world.traces()
    summary = answer.summary
    assert answer.pieces > 2
    assert (summary.tokens_in, summary.tokens_out) == (9, len(trace.completion_token_ids))
    assert int(summary.fee) == trace.fee == PRICE.fee(9, summary.tokens_out)
    assert summary.trace_sha256 == trace.digest()
    assert summary.finish_reason == openlora_pb2.FINISH_REASON_STOP
    assert answer.text == engine.text(trace.completion_token_ids)
    assert (trace.response, trace.payer, trace.adapter) == (answer.response, world.wallet.account, "")
    assert (trace.engine, trace.base, trace.platform_fee) == ("fake 1", str(world.base), 7)
    assert trace.sampling == {"max_tokens": 50, "temperature": "0"}
    assert trace.start_time <= trace.end_time
    assert world.ledger.charged() == trace.fee


async def test_a_response_is_named_by_its_payer_and_request(world, engine):
    request_id = str(uuid.uuid4())
    async with world.life(engine) as client:
        answer = await world.ask(client, request_id=request_id)
    digest = hashlib.sha256((world.wallet.account + request_id).encode()).hexdigest()
    assert answer.response == f"responses/{digest[:32]}"


async def test_sixty_four_at_once_leave_sixty_four_traces_and_no_more(world, engine):
    names = [world.publish(weights=bytes([n])) for n in range(3)]
    async with world.life(engine, max_running=8) as client:
        prompts = [f"question {n}" for n in range(64)]
        answers = await asyncio.gather(
            *(world.ask(client, p, model=("base", *names)[n % 4]) for n, p in enumerate(prompts))
        )
        traces = {trace.response: trace for trace in await world.traces()}
    assert {answer.reason for answer in answers} == {""}
    assert len({answer.response for answer in answers}) == 64
    assert {a.response: a.summary.trace_sha256 for a in answers} == {r: t.digest() for r, t in traces.items()}
    assert 1 < engine.most_running <= 8
    assert sorted(engine.loads) == sorted(name.rpartition("/")[2] for name in names)
    assert world.ledger.charged() == sum(trace.fee for trace in traces.values())
    assert world.ledger.open == set()


async def test_a_conversation_goes_through_the_chat_template(world, engine):
    turns = [openlora_pb2.Message(role="system", content="be brief"), openlora_pb2.Message(role="user", content="hm")]
    request = openlora_pb2.ChatRequest(model="base", messages=turns, request_id=str(uuid.uuid4()))
    async with world.life(engine) as client:
        answer = await heard(client, client.openlora.Chat, request)
        [trace] = await world.traces()
    assert answer.summary is not None
    assert trace.prompt_token_ids[0] == 1
    assert engine.text(trace.prompt_token_ids) == "system\nbe briefuser\nhm"
    assert trace.sampling == {"max_tokens": 100, "temperature": "0"}, (
        "not the default of 128: more than this one allows"
    )


async def test_an_answer_in_one_message_is_the_streams_and_either_repeats_the_other(world, engine):
    prompt = openlora_pb2.GenerateRequest(model="base", prompt="how much?", request_id=str(uuid.uuid4()))
    turns = [openlora_pb2.Message(role="user", content="how much?")]
    talk = openlora_pb2.ChatRequest(model="base", messages=turns, request_id=str(uuid.uuid4()))
    async with world.life(engine, **PRICES) as client:
        whole = await client.call(client.openlora.GenerateAnswer, prompt)
        streamed = await heard(client, client.openlora.Generate, prompt)
        chatted = await heard(client, client.openlora.Chat, talk)
        again = await client.call(client.openlora.ChatAnswer, talk)
        traces = await world.traces()
    assert (whole.text, whole.response, whole.summary) == (streamed.text, streamed.response, streamed.summary)
    assert (again.text, again.response, again.summary) == (chatted.text, chatted.response, chatted.summary)
    assert len(traces) == len(engine.generated) == 2
    assert world.ledger.charged() == int(whole.summary.fee) + int(again.summary.fee)


async def test_an_estimate_says_what_answers_will_cost_and_costs_nothing(world, engine):
    model = world.publish("tiny")
    prices = PRICES | {"prices": {"adapters/tiny": {"per_1k_in": 10_000, "per_1k_out": 30_000}}}
    request = openlora_pb2.EstimateAnswerRequest(model=model, prompt="how much?")
    request.sampling.max_tokens = 50
    talk = openlora_pb2.EstimateAnswerRequest(model="base", messages=[openlora_pb2.Message(role="user", content="hm")])
    async with world.life(engine, **prices) as client:
        estimate = await client.call(client.openlora.EstimateAnswer, request)
        other = await client.call(client.openlora.EstimateAnswer, talk)
        assert (engine.generated, engine.loads, world.ledger.charged(), await world.traces()) == ([], [], 0, [])
        answer = await world.ask(client, "how much?", model=model, max_tokens=50)
        listed = await client.call(client.openlora.ListModels, openlora_pb2.ListModelsRequest())
        [trace] = await world.traces()
    price = Price(10_000, 30_000, 7)
    assert (estimate.tokens_in, estimate.tokens_out_most) == (9, 50)
    assert (int(estimate.fee_least), int(estimate.fee_most)) == (price.fee(9, 1), price.fee(9, 50))
    assert (estimate.price.per_1k_in, estimate.price.per_1k_out, estimate.platform_fee) == ("10000", "30000", "7")
    assert int(answer.summary.fee) == trace.fee == price.fee(9, answer.summary.tokens_out)
    assert {m.name: m.price_per_1k_out for m in listed.models} == {"base": "5000", model: "30000"}
    assert (other.tokens_in, other.tokens_out_most) == (len(engine.tokenize("user\nhm")) + 3, 100)


async def test_sampling_is_told_in_whole_numbers_and_texts(world, engine):
    sampling = {"temperature": 0.7, "top_p": 0.95, "top_k": 40, "seed": 2**32 - 1, "stop": ["\n\n"]}
    async with world.life(engine) as client:
        await world.ask(client, sampling=sampling, max_tokens=3)
        [trace] = await world.traces()
    assert trace.sampling == {
        "max_tokens": 3,
        "temperature": "0.7",
        "top_p": "0.95",
        "top_k": 40,
        "seed": 2**32 - 1,
        "stop": ["\n\n"],
    }


async def test_models_are_listed_with_their_prices_and_states(world, engine):
    good, broken = world.publish("good"), world.publish("weird", weights=b"broken")
    engine.broken.add(broken.rpartition("/")[2])
    async with world.life(engine, **PRICES) as client:
        await world.ask(client, model=good)
        await world.ask(client, model=broken)
        listed = await client.call(client.openlora.ListModels, openlora_pb2.ListModelsRequest(page_size=2))
        request = openlora_pb2.ListModelsRequest(page_size=2, page_token=listed.next_page_token)
        rest = await client.call(client.openlora.ListModels, request)
    models = [*listed.models, *rest.models]
    assert [model.name for model in models] == ["base", good, broken]
    assert [model.state for model in models] == [
        openlora_pb2.ADAPTER_STATE_READY,
        openlora_pb2.ADAPTER_STATE_READY,
        openlora_pb2.ADAPTER_STATE_FAILED,
    ]
    assert {(m.price_per_1k_in, m.price_per_1k_out, m.platform_fee) for m in models} == {("2000", "5000", "7")}
    assert rest.next_page_token == ""


async def test_traces_can_be_watched(world, engine):
    async with world.life(engine) as client, as_service("attribution", openlora=world.at) as watcher:
        watching = watcher.stream(watcher.openlora.WatchTraces, openlora_pb2.WatchTracesRequest(), 10)
        first = asyncio.create_task(anext(watching))
        one = await world.ask(client, "one")
        batch = await first
        assert [entry.trace.response for entry in batch.entries] == [one.response]
        two = await world.ask(client, "two")
        batch = await anext(watching)
        assert from_proto(batch.entries[0].trace).digest() == two.summary.trace_sha256
        assert (batch.entries[0].offset, batch.high_watermark) == (2, 2)
        await watching.aclose()


async def test_only_attribution_reads_traces_and_only_accounts_ask(world, engine):
    async with world.life(engine) as client:
        with pytest.raises(ApiError) as caught:
            await client.call(client.openlora.ReadTraces, openlora_pb2.ReadTracesRequest())
        assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
        async with as_service("attribution", openlora=world.at) as service:
            assert (await world.ask(service)).reason == "NOT_FOR_THIS_CALLER"
        async with Client(endpoints(openlora=world.at)) as nobody:
            assert (await world.ask(nobody)).reason == "SIGN_IN"


async def test_what_happens_is_measured(world, engine):
    async with world.life(engine) as client:
        answer = await world.ask(client, "12345")
        assert world.gauge("tokens_in_total") == 5
        assert world.gauge("tokens_out_total") == answer.summary.tokens_out
        assert world.gauge("first_text_seconds_count") == 1
        assert world.gauge("trace_log_high_watermark") == 1
        assert world.gauge("leases") == 1
        assert (world.gauge("running"), world.gauge("queued"), world.gauge("disk_full")) == (0, 0, 0)
