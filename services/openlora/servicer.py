"""openledger.openlora.v1.OpenLoRAService: messages in, messages out.  Knows no tokens, no money and no tables."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import grpc

from openledger import names, trace
from openledger.context import ContextRecord
from openledger.money import Price
from openledger.openlora.v1 import openlora_pb2, openlora_pb2_grpc
from openledger.trace_proto import finish_to_proto, record_from_proto, sampling_from_proto, to_proto
from services.kit import call
from services.kit.auth import ACCOUNTS, PUBLIC, services
from services.kit.durable_log import Batch, DurableLog
from services.kit.errors import invalid
from services.openlora import question
from services.openlora.adapters import BASE, Adapters, State, Status
from services.openlora.answer import Account, Answers
from services.openlora.engine import ChatMessage, Engine
from services.openlora.question import Question
from services.openlora.records import Roots, prove

ACCESS = {
    "Generate": ACCOUNTS,
    "Chat": ACCOUNTS,
    "ListModels": PUBLIC,
    "ReadTraces": services("attribution"),
    "WatchTraces": services("attribution"),
}
_MAX_TOKENS = 128
"""Of an answer whose length nobody asked for."""
_PAGE, _BATCH, _WATCH_SECONDS = 100, 100, 30.0
_STATES = {
    State.LOADING: openlora_pb2.ADAPTER_STATE_DOWNLOADING,
    State.READY: openlora_pb2.ADAPTER_STATE_READY,
    State.FAILED: openlora_pb2.ADAPTER_STATE_FAILED,
}


class OpenLoRA(openlora_pb2_grpc.OpenLoRAServiceServicer):
    """The servicer.  `max_tokens` is the longest answer there is; `batch_bytes` bounds one message of traces."""

    def __init__(
        self,
        answers: Answers,
        engine: Engine,
        adapters: Adapters,
        log: DurableLog,
        roots: Roots,
        *,
        base: str,
        price: Price,
        max_tokens: int,
        batch_bytes: int,
    ) -> None:
        self._answers, self._engine, self._adapters, self._log = answers, engine, adapters, log
        self._roots = roots
        self._base, self._price, self._batch_bytes = base, price, batch_bytes
        self._max_tokens = min(max_tokens, _MAX_TOKENS)

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

    async def ListModels(
        self, request: openlora_pb2.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.ListModelsResponse:
        models = [self._model(Status(BASE, State.READY)), *(self._model(s) for s in self._adapters.statuses())]
        page, token = _page(models, request.page_size or _PAGE, request.page_token)
        return openlora_pb2.ListModelsResponse(models=page, next_page_token=token)

    async def ReadTraces(
        self, request: openlora_pb2.ReadTracesRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.ReadTracesResponse:
        batch = await self._log.read(request.after_offset, request.max_entries or _BATCH, request.wait_seconds)
        return self._traces(batch)

    async def WatchTraces(
        self, request: openlora_pb2.WatchTracesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[openlora_pb2.ReadTracesResponse, None]:
        after = request.after_offset
        while True:
            response = self._traces(await self._log.read(after, request.max_entries or _BATCH, _WATCH_SECONDS))
            if response.entries:
                after = response.entries[-1].offset
                yield response

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

    def _model(self, status: Status) -> openlora_pb2.Model:
        return openlora_pb2.Model(
            name=status.name,
            base=self._base,
            state=_STATES[status.state],
            message="" if status.fault is None else status.fault.message,
            price_per_1k_in=str(self._price.per_1k_in),
            price_per_1k_out=str(self._price.per_1k_out),
            platform_fee=str(self._price.platform_fee),
        )

    def _traces(self, batch: Batch) -> openlora_pb2.ReadTracesResponse:
        """As many of the traces as one message should hold, at least one."""
        response = openlora_pb2.ReadTracesResponse(high_watermark=batch.high_watermark, log_epoch=batch.epoch)
        size = 0
        for entry in batch.entries:
            size += len(entry.payload)  # the document is longer than its message
            if response.entries and size > self._batch_bytes:
                break
            response.entries.add(offset=entry.offset, trace=to_proto(trace.parse(entry.payload)))
        return response


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


def _page(models: Sequence[openlora_pb2.Model], size: int, token: str) -> tuple[Sequence[openlora_pb2.Model], str]:
    """A page of models; the token is the name of the last one before it."""
    known = [model.name for model in models]
    if token and token not in known:
        raise invalid("BAD_PAGE_TOKEN", "page_token is not one that this list gave out", "page_token")
    first = known.index(token) + 1 if token else 0
    page = models[first : first + size]
    return page, page[-1].name if first + size < len(models) else ""
