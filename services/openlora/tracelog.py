"""Traces on disk: kept under their response's id, given again by it, and read by their offsets.

Knows how a trace is written down, so that nobody else must; does not know what it is charged to.
"""

from __future__ import annotations

from openledger.trace import Trace, parse
from services.kit.consumer import Page
from services.kit.durable_log import DurableLog

_PREFIX = "responses/"


class TraceLog:
    """The traces in one durable log."""

    def __init__(self, log: DurableLog) -> None:
        self._log = log

    async def append(self, trace: Trace) -> int:
        """Keep a trace; it is on disk when this returns its offset.  One that is there already keeps its offset."""
        return await self._log.append(trace.response.removeprefix(_PREFIX), trace.dumps())

    async def get(self, key: str) -> Trace | None:
        """The trace of `responses/{key}`."""
        entry = await self._log.get(key)
        return None if entry is None else parse(entry.payload)

    async def read(self, after: int, limit: int = 100, wait: float = 0) -> Page[Trace]:
        """At most `limit` traces after an offset, at least one if there is one within `wait` seconds."""
        batch = await self._log.read(after, limit, wait)
        traces = [(entry.offset, parse(entry.payload)) for entry in batch.entries]
        return Page(traces, batch.high_watermark, batch.epoch)
