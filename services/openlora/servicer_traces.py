"""The RPCs about traces: what answers were made of, for those who account for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import grpc

from openledger.openlora.v1 import openlora_pb2
from openledger.trace import Trace
from openledger.trace_proto import to_proto
from services.kit.auth import services
from services.kit.consumer import Page
from services.openlora.desk import Desk

ACCESS = {
    "ReadTraces": services("attribution"),
    "WatchTraces": services("attribution"),
}
_BATCH, _WATCH_SECONDS = 100, 30.0


class TraceMethods:
    """Part of the servicer."""

    def __init__(self, desk: Desk) -> None:
        self._traces, self._batch_bytes = desk.traces, desk.batch_bytes

    async def ReadTraces(
        self, request: openlora_pb2.ReadTracesRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.ReadTracesResponse:
        page = await self._traces.read(request.after_offset, request.max_entries or _BATCH, request.wait_seconds)
        return self._batch(page)

    async def WatchTraces(
        self, request: openlora_pb2.WatchTracesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[openlora_pb2.ReadTracesResponse, None]:
        after = request.after_offset
        while True:
            response = self._batch(await self._traces.read(after, request.max_entries or _BATCH, _WATCH_SECONDS))
            if response.entries:
                after = response.entries[-1].offset
                yield response

    def _batch(self, page: Page[Trace]) -> openlora_pb2.ReadTracesResponse:
        """As many of the traces as one message should hold, at least one."""
        response = openlora_pb2.ReadTracesResponse(high_watermark=page.high_watermark, log_epoch=page.epoch)
        size = 0
        for offset, trace in page.entries:
            message = to_proto(trace)
            size += message.ByteSize()
            if response.entries and size > self._batch_bytes:
                break
            response.entries.add(offset=offset, trace=message)
        return response
