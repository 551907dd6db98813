"""The RPCs that answer: a prompt or a conversation in, an answer out, as it is generated or at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc

from openledger import names
from openledger.context import ContextRecord
from openledger.openlora.v1 import openlora_pb2
from openledger.trace_proto import finish_to_proto, record_from_proto, sampling_from_proto
from services.kit import call
from services.kit.auth import ACCOUNTS
from services.kit.errors import invalid
from services.openlora import question
from services.openlora.answer import Account
from services.openlora.desk import Desk
from services.openlora.engine import ChatMessage
from services.openlora.question import Question
from services.openlora.records import prove

ACCESS = {"Generate": ACCOUNTS, "Chat": ACCOUNTS}
_MAX_TOKENS = 128
"""Of an answer whose length nobody asked for."""


class AnswerMethods:
    """Part of the servicer."""

    def __init__(self, desk: Desk) -> None:
        self._answers, self._engine, self._roots = desk.answers, desk.engine, desk.roots
        self._max_tokens = min(desk.max_tokens, _MAX_TOKENS)

    async def Generate(
        self, request: openlora_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[openlora_pb2.AnswerChunk, None]:
        proven = await prove(_records(request), self._roots)
        sampling = self._sampling(request.sampling)
        asked = await question.of_prompt(self._engine, *_who(request), request.prompt, sampling, proven)
        async with aclosing(self._stream(asked)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def Chat(
        self, request: openlora_pb2.ChatRequest, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[openlora_pb2.AnswerChunk, None]:
        turns = [ChatMessage(message.role, message.content) for message in request.messages]
        proven = await prove(_records(request), self._roots)
        sampling = self._sampling(request.sampling)
        asked = await question.of_conversation(self._engine, *_who(request), turns, sampling, proven)
        async with aclosing(self._stream(asked)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _stream(self, asked: Question) -> AsyncGenerator[openlora_pb2.AnswerChunk, None]:
        async with aclosing(self._answers.answer(asked)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Account):
                    yield openlora_pb2.AnswerChunk(response=asked.response, summary=_summary(piece))
                else:
                    yield openlora_pb2.AnswerChunk(response=asked.response, text=piece)

    def _sampling(self, message: openlora_pb2.Sampling) -> dict[str, Any]:
        document = sampling_from_proto(message)
        document["max_tokens"] = document["max_tokens"] or self._max_tokens
        return document


def _who(request: openlora_pb2.GenerateRequest | openlora_pb2.ChatRequest) -> tuple[str, str, str]:
    return request.request_id, names.account(call.principal().address), request.model


def _records(request: openlora_pb2.GenerateRequest | openlora_pb2.ChatRequest) -> list[ContextRecord]:
    try:
        return [record_from_proto(record) for record in request.records]
    except ValueError as error:
        raise invalid("BAD_RECORD", f"records: {error}", "records") from None


def _summary(account: Account) -> openlora_pb2.AnswerSummary:
    return openlora_pb2.AnswerSummary(
        finish_reason=finish_to_proto(account.finish_reason),
        tokens_in=account.tokens_in,
        tokens_out=account.tokens_out,
        fee=str(account.fee),
        trace_sha256=account.trace_sha256,
    )
