"""The RPCs that answer: a prompt or a conversation in, an answer out, as it is generated or at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc

from openledger import names
from openledger.context import ContextRecord
from openledger.openlora.v1 import openlora_pb2 as pb
from openledger.trace_proto import finish_to_proto, price_to_proto, record_from_proto, sampling_from_proto
from services.kit import call
from services.kit.auth import ACCOUNTS
from services.kit.errors import invalid
from services.openlora.answer import Account
from services.openlora.desk import Desk
from services.openlora.engine import ChatMessage, TokenLogprobs
from services.openlora.question import Question
from services.openlora.records import prove
from services.openlora.together import together

ACCESS = dict.fromkeys(("Generate", "Chat", "GenerateAnswer", "ChatAnswer", "EstimateAnswer"), ACCOUNTS)
_MAX_TOKENS = 128
"""Of an answer whose length nobody asked for."""


class AnswerMethods:
    """Part of the servicer."""

    def __init__(self, desk: Desk) -> None:
        self._asking, self._answers, self._engine, self._roots = desk.asking, desk.answers, desk.engine, desk.roots
        self._limits = desk.limits

    async def Generate(
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[pb.AnswerChunk, None]:
        async with aclosing(self._stream(await self._asked(request), request.n)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def Chat(
        self, request: pb.ChatRequest, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[pb.AnswerChunk, None]:
        async with aclosing(self._stream(await self._asked(request), request.n)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def GenerateAnswer(self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext) -> pb.Answer:
        return await self._whole(await self._asked(request), request.n)

    async def ChatAnswer(self, request: pb.ChatRequest, context: grpc.aio.ServicerContext) -> pb.Answer:
        return await self._whole(await self._asked(request), request.n)

    async def EstimateAnswer(
        self, request: pb.EstimateAnswerRequest, context: grpc.aio.ServicerContext
    ) -> pb.EstimateAnswerResponse:
        if bool(request.prompt) == bool(request.messages):
            raise invalid("NOTHING_ASKED", "give a prompt or messages, one of them and not both", "prompt")
        asked = await (self._prompt(request) if request.prompt else self._conversation(request))
        found = self._answers.estimate(asked)
        return pb.EstimateAnswerResponse(
            tokens_in=found.tokens_in,
            tokens_out_most=found.tokens_out_most,
            fee_least=str(found.least),
            fee_most=str(found.most),
            price=price_to_proto(found.price),
            platform_fee=str(found.price.platform_fee),
        )

    async def _asked(self, request: pb.GenerateRequest | pb.ChatRequest) -> Question:
        if isinstance(request, pb.GenerateRequest):
            asked = await self._prompt(request, request.request_id)
        else:
            asked = await self._conversation(request, request.request_id)
        return replace(asked, publish=request.publish_trace)

    async def _prompt(self, request: pb.GenerateRequest | pb.EstimateAnswerRequest, request_id: str = "") -> Question:
        proven = await prove(_records(request), self._roots)
        sampling = self._sampling(request.sampling)
        return await self._asking.prompt(request_id, _payer(), request.model, request.prompt, sampling, proven)

    async def _conversation(self, request: pb.ChatRequest | pb.EstimateAnswerRequest, request_id: str = "") -> Question:
        turns = [ChatMessage(message.role, message.content) for message in request.messages]
        proven = await prove(_records(request), self._roots)
        sampling = self._sampling(request.sampling)
        return await self._asking.conversation(request_id, _payer(), request.model, turns, sampling, proven)

    async def _stream(self, asked: Question, count: int) -> AsyncGenerator[pb.AnswerChunk, None]:
        choices = asked.choices(count or 1)
        async with aclosing(together([self._answers.answer(choice) for choice in choices])) as pieces:
            async for number, piece in pieces:
                chunk = pb.AnswerChunk(response=choices[number].response, choice=number)
                if isinstance(piece, Account):
                    chunk.summary.CopyFrom(_summary(piece))
                else:
                    chunk.text = piece.text
                    chunk.logprobs.extend(map(self._logprobs, piece.logprobs))
                yield chunk

    async def _whole(self, asked: Question, count: int) -> pb.Answer:
        answers = [pb.Answer() for _ in range(count or 1)]
        async with aclosing(self._stream(asked, count)) as chunks:
            async for chunk in chunks:
                part = pb.Answer(text=answers[chunk.choice].text + chunk.text, logprobs=chunk.logprobs)
                part.response = chunk.response
                if chunk.HasField("summary"):
                    part.summary.CopyFrom(chunk.summary)
                answers[chunk.choice].MergeFrom(part)
        answers[0].others.extend(answers[1:])
        return answers[0]

    def _sampling(self, message: pb.Sampling) -> dict[str, Any]:
        document = sampling_from_proto(message)
        document["max_tokens"] = document["max_tokens"] or min(self._limits.answer, _MAX_TOKENS)
        return document

    def _logprobs(self, token: TokenLogprobs) -> pb.TokenLogprobs:
        chosen, *top = (
            pb.TokenLogprob(token_id=token_id, logprob=logprob, text=self._engine.text((token_id,)))
            for token_id, logprob in ((token.token_id, token.logprob), *token.top)
        )
        return pb.TokenLogprobs(chosen=chosen, top=top)


def _payer() -> str:
    return names.account(call.principal().address)


def _records(request: pb.GenerateRequest | pb.ChatRequest | pb.EstimateAnswerRequest) -> list[ContextRecord]:
    try:
        return [record_from_proto(record) for record in request.records]
    except ValueError as error:
        raise invalid("BAD_RECORD", f"records: {error}", "records") from None


def _summary(account: Account) -> pb.AnswerSummary:
    return pb.AnswerSummary(
        finish_reason=finish_to_proto(account.finish_reason),
        tokens_in=account.tokens_in,
        tokens_out=account.tokens_out,
        fee=str(account.fee),
        trace_sha256=account.trace_sha256,
    )
