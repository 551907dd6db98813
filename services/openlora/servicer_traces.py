"""The RPCs about traces: what answers were made of, for those who account for them and those who paid."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import grpc

from openledger import names
from openledger.openlora.v1 import openlora_pb2
from openledger.trace import Trace
from openledger.trace_proto import to_proto
from services.kit import call
from services.kit.auth import ACCOUNTS, services
from services.kit.consumer import Page
from services.openlora.desk import Desk

ACCESS = {
    "GetTrace": ACCOUNTS,
    "ReplayAnswer": ACCOUNTS,
    "ForgetAnswers": ACCOUNTS,
    "ReadTraces": services("attribution"),
    "WatchTraces": services("attribution"),
    "GetReplica": services("attribution", accounts=True),
}
_BATCH, _WATCH_SECONDS = 100, 30.0


class TraceMethods:
    """Part of the servicer."""

    def __init__(self, desk: Desk) -> None:
        self._traces, self._replays, self._batch_bytes = desk.traces, desk.replays, desk.batch_bytes

    async def GetTrace(
        self, request: openlora_pb2.GetTraceRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.Trace:
        return to_proto(await self._traces.given(*_asked(request.name)))

    async def ReplayAnswer(
        self, request: openlora_pb2.ReplayAnswerRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.Replay:
        replayed = await self._replays.replay(*_asked(request.name))
        message = openlora_pb2.Replay(
            response=request.name,
            tokens=replayed.tokens,
            matched=replayed.matched,
            first_difference=replayed.matched,
            engine_then=replayed.engine_then,
            engine_now=replayed.engine_now,
        )
        message.replay_time.FromJsonString(replayed.time)
        return message

    async def ForgetAnswers(
        self, request: openlora_pb2.ForgetAnswersRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.ForgetAnswersResponse:
        forgotten = openlora_pb2.ForgetAnswersResponse()
        forgotten.forget_time.FromDatetime(await self._traces.forget(names.account(call.principal().address)))
        return forgotten

    async def ReadTraces(
        self, request: openlora_pb2.ReadTracesRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.ReadTracesResponse:
        if request.log_epoch not in ("", self._traces.epoch):
            return self._batch(await self._traces.stands())  # offsets of another log mean nothing here
        await self._traces.acknowledge(request.acknowledged_offset)
        return self._batch(await self._read(request.after_offset, request.max_entries, request.wait_seconds))

    async def WatchTraces(
        self, request: openlora_pb2.WatchTracesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[openlora_pb2.ReadTracesResponse, None]:
        after = request.after_offset
        while True:
            response = self._batch(await self._read(after, request.max_entries, _WATCH_SECONDS))
            if response.entries:
                after = response.entries[-1].offset
                yield response

    async def GetReplica(
        self, request: openlora_pb2.GetReplicaRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.Replica:
        return openlora_pb2.Replica(name=self._traces.replica, log_epoch=self._traces.epoch)

    async def _read(self, after: int, most: int, wait: float) -> Page[Trace]:
        return await self._traces.read(after, most or _BATCH, wait, self._batch_bytes)

    def _batch(self, page: Page[Trace]) -> openlora_pb2.ReadTracesResponse:
        response = openlora_pb2.ReadTracesResponse(high_watermark=page.high_watermark, log_epoch=page.epoch)
        for offset, trace in page.entries:
            response.entries.add(offset=offset, trace=to_proto(trace))
        return response


def _asked(name: str) -> tuple[str, str]:
    """The response's id, and the account that asks."""
    (key,) = names.match("responses/*", name)
    return key, names.account(call.principal().address)
