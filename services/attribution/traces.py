"""What was asked and answered, for whom it concerns.

It is among the artifacts where its payer lets everybody have it, and where it was settled before traces were sealed;
else it is here, sealed for its payer.  A payer has it forgotten, or it goes when it is old: then nobody computes the
receipt's gradient again.  The receipt, its split and what is paid by it stand without it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from openledger import canonical
from openledger import trace as traces
from openledger.artifacts import ArtifactStore
from openledger.receipt import Receipt
from openledger.trace import Trace
from openledger.trace_proto import time_text
from services.attribution import store_traces
from services.attribution.store_traces import SealedTrace
from services.kit import logs, sealing
from services.kit.database import Database
from services.kit.payer_keys import PayerKeys

PAUSE_SECONDS = 600.0
PIECE = 500
"""Traces removed in one transaction: no receipt waits long for it."""


class TraceGone(ValueError):
    """The trace is not kept any more; the text says why."""


class Traces:
    """Traces of settled answers.  days: how long they are kept after their answers ended."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        keys: PayerKeys,
        *,
        days: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._artifacts, self._keys, self._days, self._clock = database, artifacts, keys, days, clock

    async def seal(self, trace: Trace) -> SealedTrace | None:
        """What is to be kept of a trace; None of one that is published: the artifacts have it."""
        if trace.published:
            return None
        key = await self._keys.of(trace.payer)
        about = _about(trace.response, trace.payer, trace.end_time, key.name)
        box = sealing.close(key.secret, trace.dumps(), about)
        return SealedTrace(trace.response, trace.payer, trace.end_time, key.name, box)

    async def published(self, sha256: str) -> bool:
        """Whether everybody can have the trace of that SHA-256."""
        return await asyncio.to_thread(self._artifacts.has, sha256)

    async def document(self, response: str, sha256: str) -> bytes:
        """The canonical bytes of a response's trace.  Raises `TraceGone`, and `ValueError` for what is damaged."""
        if await self.published(sha256):
            return await asyncio.to_thread(self._artifacts.get, sha256)
        kept = await self._database.read(lambda c: store_traces.sealed(c, response))
        key = None if kept is None else (await self._keys.named({kept.data_key})).get(kept.data_key)
        if kept is None or key is None:
            raise TraceGone(
                f"question and answer of {response} are not kept any more: their payer had them made unreadable, "
                f"or {self._days:g} days are over. What was paid stands, and how the fee was split can be checked as "
                "before; its gradient cannot be computed again"
            )
        about = _about(kept.response, kept.payer, kept.end_time, kept.data_key)
        document = sealing.open_box(key.secret, kept.box, about)
        if canonical.sha256(document) != sha256:
            raise ValueError(f"what is kept as the trace of {response} is not the one that its receipt names")
        return document

    async def of(self, receipt: Receipt) -> Trace:
        """The trace of an answer.  Raises as `document`."""
        return traces.parse(await self.document(receipt.response, receipt.trace_sha256))

    async def forget(self, payer: str, before: datetime) -> None:
        """Make unreadable for ever what is kept of the payer's, and keep nothing that it was answered up to then."""

        def forget(connection: Connection) -> list[str]:
            was = store_traces.forgotten(connection, payer)
            store_traces.forget(connection, payer, time_text(before))
            # Listed are whole minutes, or whoever asks without a pause fills the disk.
            minute = time_text(_minute(before))
            listed = was and minute <= time_text(_minute(datetime.fromisoformat(was)))
            return [] if listed else [f"{payer} {minute}"]

        await self._keys.destroy_of(payer, forget)

    async def forget_again(self) -> None:
        """Before it serves: what payers had forgotten, and a copy of the database knows not.  Raises `OSError`."""
        await self._keys.destroy_again()
        newest: dict[str, str] = {}
        for line in await asyncio.to_thread(self._keys.said):
            payer, _, moment = line.partition(" ")
            if _is_time(moment):
                newest[payer] = max(moment, newest.get(payer, ""))
        for payer, moment in newest.items():
            await self._database.write(partial(store_traces.forget_up_to, payer=payer, before=moment))

    async def let_go(self) -> int:
        """Remove what is old, and the keys that open nothing any more; returns how many traces that were."""
        now, gone = datetime.fromtimestamp(self._clock(), UTC), 0
        before = time_text(now - timedelta(days=self._days))
        while piece := await self._database.write(lambda c: store_traces.let_go(c, before, PIECE)):
            gone += piece
        oldest = await self._database.read(store_traces.oldest)
        await self._keys.destroy_unused(None if oldest is None else datetime.fromisoformat(oldest))
        if gone:
            logs.logger("attribution").info("old traces are not kept any more", count=gone)
        return gone


def _about(response: str, payer: str, end_time: str, key: str) -> bytes:
    return sealing.bound({"payer": payer, "end_time": end_time, "data_key": key}, response)


def _minute(moment: datetime) -> datetime:
    """At whose end it lies."""
    whole = moment.replace(second=0, microsecond=0)
    return moment if moment == whole else whole + timedelta(minutes=1)


def _is_time(text: str) -> bool:
    try:
        return time_text(datetime.fromisoformat(text)) == text
    except ValueError:
        return False
