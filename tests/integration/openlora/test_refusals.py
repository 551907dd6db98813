"""Bad requests, each told what is bad."""

from __future__ import annotations

import uuid

import grpc
import pytest

from openledger.client import ApiError
from openledger.openlora.v1 import openlora_pb2
from tests.openlora_world import heard


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
        ({"sampling": {"min_p": 0.1}}, "UNSUPPORTED_SAMPLING"),
        ({"sampling": {"json_schema": "{}"}}, "UNSUPPORTED_SAMPLING"),
        ({"sampling": {"presence_penalty": 3}}, "INVALID_FIELD"),
        ({"sampling": {"frequency_penalty": float("nan")}}, "INVALID_FIELD"),
        ({"sampling": {"repetition_penalty": 0}}, "INVALID_FIELD"),
        ({"sampling": {"logprobs": 21}}, "INVALID_FIELD"),
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


async def test_a_conversation_of_a_million_characters_is_refused_before_anybody_reads_it(world, engine, monkeypatch):
    monkeypatch.setattr(engine, "tokenize_chat", lambda _: pytest.fail("it was read"))
    messages = [openlora_pb2.Message(role="user", content="x" * 100_000) for _ in range(10)]
    request = openlora_pb2.ChatRequest(model="base", messages=messages, request_id=str(uuid.uuid4()))
    async with world.life(engine) as client:
        answer = await heard(client, client.openlora.Chat, request)
    assert answer.reason == "PROMPT_TOO_LONG"
    assert answer.error.metadata["prompt_characters"] == "1000000"


@pytest.mark.parametrize("asked", ({}, {"prompt": "hm", "messages": [openlora_pb2.Message(role="user", content="hm")]}))
async def test_an_estimate_is_of_a_prompt_or_of_a_conversation(world, engine, asked):
    request = openlora_pb2.EstimateAnswerRequest(model="base", **asked)
    async with world.life(engine) as client:
        with pytest.raises(ApiError) as caught:
            await client.call(client.openlora.EstimateAnswer, request)
    assert caught.value.reason == "NOTHING_ASKED"


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
