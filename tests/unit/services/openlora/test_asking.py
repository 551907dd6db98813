"""From words to a question: by the engine's tokens, within bounds, on threads of its own."""

from __future__ import annotations

import threading

import pytest

from services.kit.errors import Fault
from services.openlora.asking import Asking
from services.openlora.engine import ChatMessage, RequestRejected
from services.openlora.question import Limits
from tests.fake_engine import FakeEngine

LIMITS = Limits(prompt=20, answer=50, context=60)
SAMPLING = {"max_tokens": 10, "temperature": "0"}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def asking(engine):
    asking = Asking(engine, LIMITS)
    yield asking
    asking.close()


async def test_questions_are_tokenised_by_the_engine(asking, engine):
    plain = await asking.prompt("id", "p", "base", "hi", SAMPLING)
    assert (plain.request_id, plain.payer, plain.model, plain.sampling) == ("id", "p", "base", SAMPLING)
    assert plain.prompt == engine.tokenize("hi")
    turns = [ChatMessage("user", "hi")]
    chat = await asking.conversation("id", "p", "base", turns, SAMPLING)
    assert chat.prompt == engine.tokenize_chat(turns)


async def test_questions_are_for_the_replica_that_was_asked(engine):
    asking = Asking(engine, LIMITS, "b")
    turns = [ChatMessage("user", "hi")]
    found = [await asking.prompt("id", "p", "base", "hi", SAMPLING)]
    found += [await asking.conversation("id", "p", "base", turns, SAMPLING)]
    asking.close()
    assert [question.replica for question in found] == ["b", "b"]


async def test_a_conversation_that_the_template_refuses_is_refused(asking, engine, monkeypatch):
    def refuse(_):
        raise RequestRejected("roles must alternate")

    monkeypatch.setattr(engine, "tokenize_chat", refuse)
    with pytest.raises(Fault, match="roles must alternate") as caught:
        await asking.conversation("id", "p", "base", [ChatMessage("user", "hi")], SAMPLING)
    assert caught.value.reason == "REQUEST_REJECTED"


async def test_a_text_that_cannot_fit_is_not_read(asking, engine, monkeypatch):
    def never(_):
        raise AssertionError("it was read")

    monkeypatch.setattr(engine, "tokenize", never)
    monkeypatch.setattr(engine, "tokenize_chat", never)
    with pytest.raises(Fault, match="is looked at"):
        await asking.prompt("id", "p", "base", "x" * 641, SAMPLING)
    turns = [ChatMessage(role, "x" * 300) for role in ("user", "assistant", "user")]
    with pytest.raises(Fault, match="900 characters"):
        await asking.conversation("id", "p", "base", turns, SAMPLING)


async def test_reading_has_threads_of_its_own(asking, engine, monkeypatch):
    names = set()

    def tokenize(prompt):
        names.add(threading.current_thread().name)
        return (1,)

    monkeypatch.setattr(engine, "tokenize", tokenize)
    await asking.prompt("id", "p", "base", "hi", SAMPLING)
    assert {name.rpartition("_")[0] for name in names} == {"asking"}
