"""What vLLM raises in the middle of an answer: the engine's death, a refusal, or that request's own trouble."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from services.openlora.engine import EngineDead, EngineRequest, EngineSettings, RequestRejected, Sampling
from services.openlora.engine_text import AnswerText
from tests import tiny_model
from tests.needs import needs

pytestmark = [needs("vllm")]


class Llm:
    """An `AsyncLLM` whose answers break off; with it, if it is told so, all of vLLM."""

    def __init__(self, error: Exception, deadly: bool = False) -> None:
        self._error, self._deadly, self.errored = error, deadly, False

    async def generate(self, *_: Any, **__: Any) -> AsyncGenerator[Any, None]:
        self.errored = self._deadly
        raise self._error
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("base"))


async def outcome(base: Path, llm: Any) -> Exception:
    from services.openlora.engine_vllm import VllmEngine

    engine = VllmEngine(llm, base, EngineSettings(context=64))
    with pytest.raises(Exception) as raised:  # noqa: PT011  # which one is what the tests are about
        await anext(engine.generate(EngineRequest("r", (5, 6), Sampling(4))))
    return raised.value


async def test_death_is_what_vllm_calls_death(base):
    from vllm.v1.engine.exceptions import EngineDeadError

    assert type(await outcome(base, Llm(EngineDeadError()))) is EngineDead
    assert type(await outcome(base, Llm(RuntimeError("the pipe is broken"), deadly=True))) is EngineDead


async def test_a_refusal_is_the_requests_own(base):
    from vllm.exceptions import VLLMValidationError

    for error in (ValueError("too long"), VLLMValidationError("not this one")):
        assert type(await outcome(base, Llm(error))) is RequestRejected


async def test_anything_else_is_an_error_of_one_request_and_not_the_engines_death(base):
    error = RuntimeError("odd")
    assert await outcome(base, Llm(error)) is error


async def test_trouble_with_an_answers_text_is_neither_a_death_nor_a_refusal(base, monkeypatch):
    from vllm.outputs import CompletionOutput, RequestOutput

    class Talking(Llm):
        async def generate(self, *_: Any, **__: Any) -> AsyncGenerator[Any, None]:
            yield RequestOutput("r", None, [5], None, [CompletionOutput(0, "", [7], None, None)], False)

    error = ValueError("no such text")
    monkeypatch.setattr(AnswerText, "feed", Mock(side_effect=error))
    assert await outcome(base, Talking(RuntimeError())) is error
