"""Records with a question, over real gRPC: a real Datanet proves whose they are, and what is not so is refused."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest

from openledger import retrieval
from openledger.context import OPENING
from openledger.openlora.v1 import openlora_pb2
from tests import datanet_world
from tests.datanet_world import ADA, BOB, OWNER, SNAPSHOT, give
from tests.openlora_world import World, heard

TEXTS = {ADA: "Sage is gathered in June before it flowers.", BOB: "Thyme dries in the shade within a week."}


@dataclass
class Herbs:
    """A Datanet with a snapshot of two people's records, and those as their datanet's owner can pass them."""

    at: str
    records: list[openlora_pb2.ContextRecord]
    root: bytes


@pytest.fixture
async def herbs(world, tmp_path) -> AsyncIterator[Herbs]:
    ledger = datanet_world.Ledger(issuer=world.ledger.issuer)
    async with (
        datanet_world.serve_ledger(ledger, tmp_path / "anchors") as ledger_at,
        datanet_world.world(tmp_path / "datanet", ledger, ledger_at) as here,
        here.as_(OWNER) as owner,
    ):
        await datanet_world.open_datanet(owner)
        names = [(await give(here, who, text)).outcomes[0].record for who, text in TEXTS.items()]
        snapshot = await datanet_world.cut(owner)
        yield Herbs(here.where, await retrieval.proven(owner, SNAPSHOT, names), snapshot.root)


def request(records: list[openlora_pb2.ContextRecord], **more: object) -> openlora_pb2.GenerateRequest:
    values = {"model": "base", "prompt": "When?", "request_id": str(uuid.uuid4())} | more
    return openlora_pb2.GenerateRequest(records=records, **values)


async def asked(world: World, client, records: list[openlora_pb2.ContextRecord], **more: object):
    return await heard(client, client.openlora.Generate, request(records, **more))


async def test_records_stand_before_the_prompt_and_in_the_trace_with_their_proofs(world, engine, herbs):
    async with world.life(engine, datanet=herbs.at) as client:
        answer = await asked(world, client, herbs.records)
        [trace] = await world.traces()
    assert answer.error is None
    read = OPENING + "".join(f"{text}\n\n" for text in TEXTS.values()) + "When?"
    assert engine.text(trace.prompt_token_ids) == read
    assert answer.summary.tokens_in == len(trace.prompt_token_ids)
    assert trace.context.authors() == (ADA.address, BOB.address)
    assert {placed.root for placed in trace.context.records} == {herbs.root}
    trace.context.check(trace.prompt_token_ids)
    trace.context.check_tokens(trace.prompt_token_ids, engine.encode)
    assert engine.text(trace.context.bare(trace.prompt_token_ids)) == "When?"
    assert answer.summary.trace_sha256 == trace.digest()


async def test_they_are_not_published_with_the_question(world, engine, herbs):
    async with world.life(engine, datanet=herbs.at) as client:
        answer = await asked(world, client, herbs.records, publish_trace=True)
        assert await world.traces() == []
    assert (answer.reason, answer.error.code) == ("CANNOT_PUBLISH", grpc.StatusCode.INVALID_ARGUMENT)


async def test_in_a_conversation_they_stand_before_what_the_last_turn_says(world, engine, herbs):
    turns = [openlora_pb2.Message(role="system", content="be brief"), openlora_pb2.Message(role="user", content="hm")]
    chat = openlora_pb2.ChatRequest(
        model="base", messages=turns, request_id=str(uuid.uuid4()), records=herbs.records[:1]
    )
    async with world.life(engine, datanet=herbs.at) as client:
        await heard(client, client.openlora.Chat, chat)
        [trace] = await world.traces()
    assert engine.text(trace.prompt_token_ids) == f"system\nbe briefuser\n{OPENING}{TEXTS[ADA]}\n\nhm"
    assert trace.context.bare(trace.prompt_token_ids) == tuple(engine.tokenize_chat(chat.messages))


async def test_the_same_request_gives_the_same_answer_and_other_records_are_another_question(world, engine, herbs):
    request_id = str(uuid.uuid4())
    async with world.life(engine, datanet=herbs.at) as client:
        first = await asked(world, client, herbs.records, request_id=request_id)
        again = await asked(world, client, herbs.records, request_id=request_id)
        turned = await asked(world, client, herbs.records[::-1], request_id=request_id)
        without = await asked(world, client, [], request_id=request_id)
    assert (again.text, again.summary) == (first.text, first.summary)
    assert turned.reason == without.reason == "REQUEST_ID_REUSED"


def changed(record: openlora_pb2.ContextRecord, **changes: object) -> openlora_pb2.ContextRecord:
    made = openlora_pb2.ContextRecord()
    made.CopyFrom(record)
    for name, value in changes.items():
        made.ClearField(name)
        made.MergeFrom(openlora_pb2.ContextRecord(**{name: value}))
    return made


@pytest.mark.parametrize(
    ("change", "reason"),
    (
        ({"contributor": BOB.account}, "BAD_RECORD"),
        ({"fields": {"text": "Sage is gathered in May."}}, "BAD_RECORD"),
        ({"fields": {"text": TEXTS[ADA], "more": "mine"}}, "BAD_RECORD"),
        ({"source": "my own"}, "BAD_RECORD"),
        ({"salt": bytes(32)}, "BAD_RECORD"),
        ({"salt": b"short"}, "BAD_RECORD"),
        ({"leaf": 1}, "BAD_RECORD"),
        ({"path": [bytes(32)]}, "BAD_RECORD"),
        ({"snapshot": "datanets/terms/snapshots/9"}, "SNAPSHOT_NOT_FOUND"),
        ({"snapshot": "terms"}, "INVALID_FIELD"),
        ({"contributor": "me"}, "INVALID_FIELD"),
        ({"contributor": "accounts/me"}, "BAD_RECORD"),
        ({"fields": {}}, "INVALID_FIELD"),
    ),
)
async def test_what_is_not_that_contributors_record_is_refused_and_costs_nothing(world, engine, herbs, change, reason):
    async with world.life(engine, datanet=herbs.at) as client:
        answer = await asked(world, client, [herbs.records[1], changed(herbs.records[0], **change)])
        assert answer.reason == reason, answer.error
        assert await world.traces() == []
    assert world.ledger.charged() == 0


async def test_records_are_passed_once_each_and_not_too_many(world, engine, herbs):
    async with world.life(engine, datanet=herbs.at) as client:
        twice = await asked(world, client, herbs.records[:1] * 2)
        many = await asked(world, client, herbs.records[:1] * 9)
    assert twice.reason == "BAD_RECORD"
    assert "record 1 is record 0 again" in twice.error.message
    assert many.reason == "INVALID_FIELD"


async def test_where_no_datanet_is_named_records_are_refused_with_what_to_do(world, engine, herbs):
    async with world.life(engine) as client:
        refused = await asked(world, client, herbs.records)
        plain = await asked(world, client, [])
    assert refused.reason == "NO_DATANET"
    assert "OPENLEDGER_OPENLORA_DATANET" in refused.error.message
    assert plain.error is None


async def test_while_the_datanet_is_away_it_is_said_when_to_ask_again(world, engine, herbs):
    async with world.life(engine, datanet="127.0.0.1:1") as client:
        away = await asked(world, client, herbs.records)
    assert away.reason == "DATANET_UNAVAILABLE"
    assert away.error.retry_after == 1


async def test_records_count_into_the_longest_prompt(world, engine, herbs):
    async with world.life(engine, datanet=herbs.at, max_prompt_tokens=60) as client:
        answer = await asked(world, client, herbs.records)
    assert answer.reason == "PROMPT_TOO_LONG"
