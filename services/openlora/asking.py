"""From what is asked in words to a question in tokens, bounded before anything is spent on it.

Reading words costs the caller nothing, so a text that could not fit is not read at all, and what is read waits for one
of a few threads that do nothing else: whoever asks much of them keeps no file and no answer waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openledger.context import Context
from services.kit.errors import invalid
from services.openlora.engine import ChatMessage, Engine, RequestRejected
from services.openlora.question import Limits, Question, check_conversation
from services.openlora.records import Proven

_THREADS = 2


class Asking:
    """Makes questions for one engine, of texts within the limits, to be answered by that replica."""

    def __init__(self, engine: Engine, limits: Limits, replica: str = "") -> None:
        self._engine, self._limits, self._replica = engine, limits, replica
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="asking")

    async def prompt(
        self,
        request_id: str,
        payer: str,
        model: str,
        prompt: str,
        sampling: Mapping[str, Any],
        proven: Sequence[Proven] = (),
    ) -> Question:
        """The question that a prompt is, as it stands, after records that are proven.  Raises `Fault`."""
        self._limits.check_length([prompt], proven)
        return Question(request_id, payer, model, *await self._read(prompt, proven, sampling))

    async def conversation(
        self,
        request_id: str,
        payer: str,
        model: str,
        turns: Sequence[ChatMessage],
        sampling: Mapping[str, Any],
        proven: Sequence[Proven] = (),
    ) -> Question:
        """The question that a conversation is, by the model's chat template, with records before its last turn's words.

        Raises `Fault` when it is none.
        """
        check_conversation(turns)
        self._limits.check_length([turn.content for turn in turns], proven)
        try:
            return Question(request_id, payer, model, *await self._read(turns, proven, sampling))
        except RequestRejected as error:
            text = f"this conversation cannot be put to the model: {error}"
            raise invalid("REQUEST_REJECTED", text, "messages") from None

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _read(
        self, asked: str | Sequence[ChatMessage], proven: Sequence[Proven], sampling: Mapping[str, Any]
    ) -> tuple[tuple[int, ...], Mapping[str, Any], Context | None, str]:
        loop = asyncio.get_running_loop()
        tokens, context = await loop.run_in_executor(self._threads, _put, self._engine, asked, proven)
        return tokens, sampling, context, self._replica


def _put(
    engine: Engine, asked: str | Sequence[ChatMessage], proven: Sequence[Proven]
) -> tuple[tuple[int, ...], Context | None]:
    if not proven:
        return engine.tokenize(asked) if isinstance(asked, str) else engine.tokenize_chat(asked), None
    before, after = engine.around(asked)
    context, tokens = Context.lay(before, proven, engine.encode)
    return (*tokens, *after), context
