"""OpenLoRA over real gRPC: what is asked, answered, paid and left behind; and every fault on the way.

The engine here has no model, so that it can wait, die and refuse when told to; tests/integration/test_openlora_model.py
does the main job with a real one.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from openledger.client import ApiError, Client, Wallet
from openledger.money import Price
from openledger.openlora.v1 import openlora_pb2
from openledger.trace_proto import from_proto
from services.kit.durable_log import DurableLog
from services.kit.testing import as_service, endpoints
from tests.fake_engine import FakeEngine
from tests.openlora_world import World, heard, no_model
from tests.toy_ledger import toy_ledger

PRICES = {"price_per_1k_in": 2000, "price_per_1k_out": 5000, "platform_fee": 7}
PRICE = Price(2000, 5000, 7)


@pytest.fixture
async def world(tmp_path: Path):
    async with toy_ledger(tmp_path) as (ledger, where):
        yield World(tmp_path, no_model(tmp_path / "base"), ledger, where)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


# --- the main job ---------------------------------------------------------------------------------------------------


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


# --- the same request again -----------------------------------------------------------------------------------------


async def test_the_same_request_again_gives_the_same_answer_charged_once(world, engine):
    request_id = str(uuid.uuid4())
    async with world.life(engine, **PRICES) as client:
        first = await world.ask(client, "once", request_id=request_id)
        again = await world.ask(client, "once", request_id=request_id)
        assert len(await world.traces()) == 1
    async with world.life(FakeEngine()) as client:
        later = await world.ask(client, "once", request_id=request_id)
    assert (again.text, again.summary, again.response) == (first.text, first.summary, first.response)
    assert (later.text, later.summary, later.response) == (first.text, first.summary, first.response)
    assert len(engine.generated) == 1
    assert world.ledger.charged() == int(first.summary.fee)


@pytest.mark.parametrize("change", ({"prompt": "twice"}, {"max_tokens": 2}, {"sampling": {"seed": 1}}, {"model": "?"}))
async def test_the_same_id_on_another_request_is_refused(world, engine, change):
    request_id = str(uuid.uuid4())
    other = {"prompt": "once"} | change
    other["model"] = world.publish() if "model" in change else "base"
    async with world.life(engine) as client:
        await world.ask(client, "once", request_id=request_id)
        answer = await world.ask(client, request_id=request_id, **other)
    assert (answer.reason, answer.error.code) == ("REQUEST_ID_REUSED", grpc.StatusCode.INVALID_ARGUMENT)


async def test_the_same_id_of_another_payer_is_another_request(world, engine):
    request_id, stranger = str(uuid.uuid4()), Wallet.create()
    world.ledger.balances[stranger.account] = 10**24
    async with world.life(engine) as client, world.client(stranger) as other:
        mine = await world.ask(client, "once", request_id=request_id)
        theirs = await world.ask(other, "else", request_id=request_id)
        assert {t.payer for t in await world.traces()} == {world.wallet.account, stranger.account}
    assert mine.response != theirs.response


async def test_the_same_request_while_it_is_answered_is_told_to_wait(world, engine):
    request_id = str(uuid.uuid4())
    engine.gate.clear()
    async with world.life(engine) as client:
        first = asyncio.create_task(world.ask(client, "once", request_id=request_id))
        await until(lambda: engine.running)
        busy = await world.ask(client, "once", request_id=request_id)
        other = await world.ask(client, "twice", request_id=request_id)
        engine.gate.set()
        assert (await first).summary is not None
        assert (await world.ask(client, "once", request_id=request_id)).summary == (await first).summary
    assert (busy.reason, busy.error.code) == ("IN_PROGRESS", grpc.StatusCode.ABORTED)
    assert other.reason == "REQUEST_ID_REUSED"


# --- who leaves early, and who waits too long -----------------------------------------------------------------------


async def test_whoever_hangs_up_pays_nothing_and_frees_the_engine(world, engine):
    request_id = str(uuid.uuid4())
    request = openlora_pb2.GenerateRequest(model="base", prompt="bye", request_id=request_id)
    engine.gate.clear()
    async with world.life(engine) as client:
        stream = client.stream(client.openlora.Generate, request, 60)
        await anext(stream)
        await stream.aclose()
        await until(lambda: not engine.running)
        assert len(engine.aborted) == 1
        assert await world.traces() == []
        engine.gate.set()
        assert (await world.ask(client, "bye", request_id=request_id, max_tokens=0)).summary is not None
        [trace] = await world.traces()
    assert world.ledger.charged() == trace.fee


async def test_a_callers_deadline_ends_its_answer(world, engine):
    engine.gate.clear()
    async with world.life(engine) as client:
        answer = await world.ask(client, timeout=0.5)
        assert answer.error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: not engine.running)
        assert await world.traces() == []
    assert world.ledger.charged() == 0


async def test_no_answer_takes_longer_than_the_service_allows(world, engine):
    engine.gate.clear()
    async with world.life(engine, max_answer_seconds=0.3) as client:
        answer = await world.ask(client)
        await until(lambda: not engine.running)
    assert (answer.reason, answer.error.code) == ("TOO_SLOW", grpc.StatusCode.DEADLINE_EXCEEDED)
    assert world.ledger.charged() == 0


async def test_more_than_the_queue_holds_is_sent_away_with_advice(world, engine):
    engine.gate.clear()
    async with world.life(engine, max_running=2, max_queued=3) as client:
        taken = [asyncio.create_task(world.ask(client, f"{n}")) for n in range(5)]
        await until(lambda: world.gauge("queued") == 3 and world.gauge("running") == 2)
        refused = await world.ask(client)
        engine.gate.set()
        answers = await asyncio.gather(*taken)
    assert (refused.reason, refused.error.code) == ("QUEUE_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert refused.error.retry_after == 2
    assert all(answer.summary for answer in answers)
    assert engine.most_running == 2


# --- money ----------------------------------------------------------------------------------------------------------


async def test_a_payer_without_balance_hears_the_ledgers_advice(world, engine):
    world.ledger.balances[world.wallet.account] = 10
    async with world.life(engine, **PRICES) as client:
        answer = await world.ask(client)
    assert (answer.reason, answer.error.code) == ("INSUFFICIENT_BALANCE", grpc.StatusCode.FAILED_PRECONDITION)
    assert "deposit more OPEN" in answer.error.message
    assert answer.error.metadata["spendable"] == "10"
    assert engine.generated == []


async def test_a_balance_can_be_spent_to_the_last_answer(world, engine):
    most = PRICE.fee(5, 20)
    world.ledger.balances[world.wallet.account] = 3 * most
    async with world.life(engine, **PRICES) as client:
        answers = [await world.ask(client, f"n{n:04}", max_tokens=20) for n in range(40)]
    paid = [int(answer.summary.fee) for answer in answers if answer.summary]
    assert {answer.reason for answer in answers} == {"", "INSUFFICIENT_BALANCE"}
    assert len(paid) >= 3
    assert 3 * most - sum(paid) < most
    assert world.ledger.balances[world.wallet.account] == 3 * most - sum(paid)


async def test_while_the_ledger_is_away_what_was_set_aside_can_still_be_spent(world, engine):
    async with world.life(engine, lease_chunk=1000, **PRICES) as client:
        before = await world.ask(client, max_tokens=50)
        world.ledger.away = True
        meanwhile = await world.ask(client, max_tokens=50)
        beyond = await world.ask(client, "x" * 400, max_tokens=50)
        world.ledger.away = False
        await asyncio.sleep(1)
        after = await world.ask(client, "x" * 400, max_tokens=50)
        traces = await world.traces()
    assert all(answer.summary for answer in (before, meanwhile, after))
    assert (beyond.reason, beyond.error.code) == ("LEDGER_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
    assert beyond.error.retry_after
    assert (len(engine.generated), len(traces)) == (3, 3)
    assert world.ledger.charged() == sum(trace.fee for trace in traces)


# --- adapters -------------------------------------------------------------------------------------------------------


async def test_a_name_that_is_no_model_is_explained(world, engine):
    async with world.life(engine) as client:
        answers = [await world.ask(client, model=name) for name in ("gpt", "adapters/x", "adapters/a/revisions/b/c")]
    assert {(a.reason, a.error.code) for a in answers} == {("UNKNOWN_MODEL", grpc.StatusCode.INVALID_ARGUMENT)}


async def test_an_unknown_adapter_is_not_found(world, engine):
    real = world.publish("tiny").rpartition("/")[2]
    names = (
        f"adapters/tiny/revisions/{'0' * 64}",
        "adapters/tiny/revisions/latest",
        f"adapters/other/revisions/{real}",
    )
    async with world.life(engine) as client:
        answers = [await world.ask(client, model=name) for name in names]
        listed = await client.call(client.openlora.ListModels, openlora_pb2.ListModelsRequest())
    assert {(a.reason, a.error.code) for a in answers} == {("UNKNOWN_ADAPTER", grpc.StatusCode.NOT_FOUND)}
    assert [model.name for model in listed.models] == ["base"]
    assert engine.loads == []


async def test_an_adapter_of_another_base_is_refused(world, engine):
    name = world.publish(base_sha256="f" * 64)
    async with world.life(engine) as client:
        answer = await world.ask(client, model=name)
    assert (answer.reason, answer.error.code) == ("WRONG_BASE", grpc.StatusCode.FAILED_PRECONDITION)
    assert engine.loads == []


async def test_a_damaged_adapter_is_refused(world, engine):
    name = world.publish(weights=b"whole")
    blob = hashlib.sha256(b"whole").hexdigest()
    place = world.artifacts.root / "sha256" / blob[:2] / blob
    place.chmod(0o644)
    place.write_bytes(b"holed")
    async with world.life(engine) as client:
        answer = await world.ask(client, model=name)
    assert answer.reason == "ADAPTER_REJECTED"
    assert "damaged" in answer.error.message
    assert engine.loads == []


async def test_a_broken_adapter_harms_nobody_else_and_is_not_tried_again_at_once(world, engine):
    good, broken = world.publish("good"), world.publish("weird", weights=b"broken")
    engine.broken.add(broken.rpartition("/")[2])
    async with world.life(engine) as client:
        models = [good, broken, "base"] * 5
        answers = await asyncio.gather(*(world.ask(client, f"{n}", model=m) for n, m in enumerate(models)))
        assert len(await world.traces()) == 10
    for model, answer in zip(models, answers, strict=True):
        assert answer.reason == ("ADAPTER_REJECTED" if model == broken else "")
    assert len(engine.loads) == 2


async def test_first_requests_at_once_share_one_load_and_outlive_who_started_it(world, engine):
    name = world.publish()
    engine.load_gate.clear()
    async with world.life(engine) as client:
        first = asyncio.create_task(world.ask(client, "first", model=name))
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(world.ask(client, f"{n}", model=name)) for n in range(5)]
        await asyncio.sleep(0.1)
        listed = await client.call(client.openlora.ListModels, openlora_pb2.ListModelsRequest())
        first.cancel()
        await asyncio.sleep(0.1)
        engine.load_gate.set()
        answers = await asyncio.gather(*others)
    assert listed.models[1].state == openlora_pb2.ADAPTER_STATE_DOWNLOADING
    assert all(answer.summary for answer in answers)
    assert len(engine.loads) == 1


# --- bad requests ---------------------------------------------------------------------------------------------------


async def test_a_prompt_that_is_too_long_names_the_limits(world, engine):
    async with world.life(engine) as client:
        long = await world.ask(client, "x" * 401, max_tokens=10)
        crowded = await world.ask(client, "x" * 400, max_tokens=100)
        fits = await world.ask(client, "x" * 400, max_tokens=10)
    assert (long.reason, crowded.reason, fits.reason) == ("PROMPT_TOO_LONG", "", "")
    assert long.error.metadata == {"prompt_tokens": "401", "max_prompt_tokens": "400", "context_tokens": "512"}
    assert "401 tokens" in long.error.message


async def test_prompt_and_answer_share_the_context(world, engine):
    async with world.life(engine, max_prompt_tokens=510) as client:
        answer = await world.ask(client, "x" * 450, max_tokens=100)
    assert answer.reason == "PROMPT_TOO_LONG"
    assert "at most 412 are taken" in answer.error.message


@pytest.mark.parametrize(
    ("more", "reason"),
    (
        ({"max_tokens": 101}, "TOO_MANY_TOKENS"),
        ({"sampling": {"stop": [""]}}, "EMPTY_STOP"),
        ({"sampling": {"temperature": 2.5}}, "INVALID_FIELD"),
        ({"sampling": {"temperature": float("nan")}}, "INVALID_FIELD"),
        ({"sampling": {"top_p": 0.0}}, "INVALID_FIELD"),
        ({"prompt": ""}, "INVALID_FIELD"),
        ({"prompt": "x" * 100_001}, "INVALID_FIELD"),
        ({"request_id": "not-a-uuid"}, "INVALID_FIELD"),
        ({"model": ""}, "INVALID_FIELD"),
    ),
)
async def test_a_bad_request_is_told_what_is_bad(world, engine, more, reason):
    async with world.life(engine) as client:
        answer = await world.ask(client, **more)
    assert (answer.reason, answer.error.code) == (reason, grpc.StatusCode.INVALID_ARGUMENT)
    assert engine.generated == []


@pytest.mark.parametrize(
    ("turns", "reason"),
    (
        ((), "INVALID_FIELD"),
        ((("root", "do it"),), "UNKNOWN_ROLE"),
        ((("user", "hi"), ("assistant", "hello")), "NOTHING_ASKED"),
    ),
)
async def test_a_bad_conversation_is_told_what_is_bad(world, engine, turns, reason):
    messages = [openlora_pb2.Message(role=role, content=content) for role, content in turns]
    request = openlora_pb2.ChatRequest(model="base", messages=messages, request_id=str(uuid.uuid4()))
    async with world.life(engine) as client:
        answer = await heard(client, client.openlora.Chat, request)
    assert answer.reason == reason


async def test_a_prompt_that_is_not_utf8_is_refused(world, engine):
    token = world.ledger.issuer.token(world.wallet)
    bad = openlora_pb2.GenerateRequest(model="base", prompt="caf\u00e9", request_id=str(uuid.uuid4()))
    wire = bad.SerializeToString().replace("\u00e9".encode(), b"\xff\xfe")
    async with world.life(engine), grpc.aio.insecure_channel(world.at) as channel:
        call = channel.unary_stream("/openledger.openlora.v1.OpenLoRAService/Generate")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call(wire, timeout=10, metadata=(("authorization", f"Bearer {token}"),)):
                pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "UTF-8" in caught.value.details()


# --- a dead engine, a full disk, a killed process -------------------------------------------------------------------


async def health(where: str) -> int:
    async with grpc.aio.insecure_channel(where) as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        return reply.status


async def test_a_dead_engine_is_said_to_be_dead_and_nothing_is_charged(world, engine):
    engine.gate.clear()
    async with world.life(engine) as client:
        assert await health(world.at) == health_pb2.HealthCheckResponse.SERVING
        running = asyncio.create_task(world.ask(client))
        await until(lambda: engine.running)
        engine.dead = True
        engine.gate.set()
        broken_off, refused = await running, await world.ask(client)
        async with asyncio.timeout(10):
            while await health(world.at) != health_pb2.HealthCheckResponse.NOT_SERVING:
                await asyncio.sleep(0.1)
        assert await world.traces() == []
    for answer in (broken_off, refused):
        assert (answer.reason, answer.error.code) == ("ENGINE_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
        assert answer.error.retry_after == 5
    assert world.ledger.charged() == 0


async def test_an_engine_that_generates_more_than_was_paid_for_charges_nothing(world, engine):
    engine.talkative = True
    async with world.life(engine, **PRICES) as client:
        answer = await world.ask(client, max_tokens=2)
        assert await world.traces() == []
    assert (answer.reason, answer.summary) == ("INTERNAL", None)
    assert world.ledger.charged() == 0


async def test_a_full_disk_stops_admission_loses_no_trace_and_charges_nothing_untraced(world, engine):
    async with world.life(engine) as client:
        before = await world.ask(client, "before")
        database = world.storage()
        pages = database.write_now(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
        limit = database.write_now(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}").scalar_one())
        assert limit == pages + 2
        answers = [await world.ask(client, f"{n:0300}") for n in range(40)]
        first_refusal = next(n for n, answer in enumerate(answers) if answer.error)
        made = len(engine.generated)
        refused = await world.ask(client, "while it is full")
        assert len(engine.generated) == made, "something was begun although the disk is full"
        assert world.gauge("disk_full") == 1
        completed = {a.response for a in (before, *answers) if a.summary}
        assert {trace.response for trace in await world.traces()} == completed
        database.write_now(lambda c: c.exec_driver_sql("PRAGMA max_page_count=100000").scalar_one())
        await until(lambda: world.gauge("disk_full") == 0)
        after = await world.ask(client, "after")
        traces = await world.traces()
    assert {a.reason for a in (*answers[first_refusal:], refused)} == {"DISK_FULL"}
    assert refused.error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.error.retry_after == 30
    assert after.summary is not None
    assert world.ledger.charged() == sum(trace.fee for trace in traces)


@pytest.mark.parametrize("stored", (False, True), ids=("before the trace is stored", "after the trace is stored"))
async def test_a_kill_around_the_trace_charges_what_is_on_disk_and_once(world, engine, monkeypatch, stored):
    append, request_id = DurableLog.append, str(uuid.uuid4())

    async def dying(log: DurableLog, key: str, payload: bytes) -> int:
        if stored:
            await append(log, key, payload)
        await asyncio.Event().wait()  # nothing comes after a kill: not the settling, not the last message
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(DurableLog, "append", dying)
        async with world.life(engine, **PRICES) as client:
            cut_off = await world.ask(client, "once", request_id=request_id, timeout=2)
            assert cut_off.summary is None
            world.kill()
    assert world.ledger.open == {"leases/1"}
    async with world.life(FakeEngine(), **PRICES) as client:
        await until(lambda: "leases/1" not in world.ledger.open)
        charged_before = int(world.ledger.leases["leases/1"].charged)
        again = await world.ask(client, "once", request_id=request_id)
        [trace] = await world.traces()
    assert charged_before == (trace.fee if stored else 0)
    assert trace.lease == ("leases/1" if stored else "leases/2")
    assert (again.summary.trace_sha256, int(again.summary.fee)) == (trace.digest(), trace.fee)
    assert world.ledger.charged() == trace.fee


async def test_a_restart_gives_back_the_leases_of_the_life_before(world, engine):
    async with world.life(engine, **PRICES) as client:
        fees = [int((await world.ask(client, f"{n}")).summary.fee) for n in range(3)]
        world.kill()
    assert world.ledger.open == {"leases/1"}
    async with world.life(FakeEngine(), **PRICES):
        await until(lambda: not world.ledger.open)
    assert world.ledger.charged() == sum(fees)


async def test_an_orderly_end_gives_back_everything(world, engine):
    async with world.life(engine, **PRICES) as client:
        fee = int((await world.ask(client)).summary.fee)
    assert world.ledger.open == set()
    assert world.ledger.charged() == fee
