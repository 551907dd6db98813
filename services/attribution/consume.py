"""Reads OpenLoRA's traces and makes a receipt or a dead letter of each, exactly once.

The offset moves in the transaction that appends the receipts, and they are published after it.  A trace that cannot be
attributed never holds up the next one; what may pass (a peer that is away, a disk that fails, memory that is short) is
tried again, and nothing moves meanwhile; but what never fits into this machine's memory is given up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import grpc
from sqlalchemy import Connection

from openledger import names, trace_proto
from openledger.artifacts import ArtifactStore
from openledger.client import ApiError, Client
from openledger.grade import Grade
from openledger.openlora.v1 import openlora_pb2
from openledger.trace import Trace
from services.attribution import store, store_audits
from services.attribution.attribute import Attributor, publish_rest
from services.attribution.lanes import Lanes
from services.attribution.score import Terms, Unattributable
from services.attribution.store import Issued, Refused
from services.attribution.terms import TermsSource
from services.attribution.tries import GivenUp, Tries
from services.kit import logs
from services.kit.consumer import Consumer, Page
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.metrics import Metrics

SOURCE = "openlora/traces"
_PASSING = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
_PAUSE = 0.5

log = logs.logger("attribution")


class TraceConsumer:
    """`run` for ever, in one task; measuring happens in the first of the lanes."""

    def __init__(
        self,
        database: Database,
        receipts: DurableLog,
        peers: Client,
        artifacts: ArtifactStore,
        attributor: Attributor,
        terms: TermsSource,
        lanes: Lanes,
        metrics: Metrics,
        *,
        batch: int,
        wait: float,
        want: Callable[[str], None],
    ) -> None:
        """want: told of every adapter revision that a receipt is issued for."""
        self._database, self._receipts, self._artifacts, self._peers = database, receipts, artifacts, peers
        self._tries = Tries(database)
        self._attributor, self._terms, self._lanes = attributor, terms, lanes
        self._batch, self._wait, self._want = batch, wait, want
        self._consumer = Consumer(database, store.METADATA, SOURCE, self._read, self._prepare, self._apply)
        self._same_log = False
        """Whether what was read last was of the log that the stored offset is of."""
        self._applied: list[Issued | Refused] = []
        self._issued = metrics.counter("receipts_total", "Receipts issued")
        self._refused = metrics.counter("dead_letters_total", "Traces that could not be attributed", "reason")
        self._seconds = metrics.histogram("scoring_seconds", "From a trace to its signed receipt")
        self._cpu = metrics.counter("scoring_cpu_seconds_total", "CPU time of the process while it measures")
        metrics.gauge("trace_lag", "Traces that wait to be attributed").set_function(lambda: self._consumer.lag)

    async def run(self) -> None:
        """Publish what a former life had committed, load the base model, then consume.

        Errors that will not pass by themselves are raised, `EpochChanged` among them: a log made anew stops all
        attribution, loudly, until an operator has decided.
        """
        await publish_rest(self._receipts, self._artifacts)
        await self._load()
        try:
            while True:
                await self._step()
        finally:
            self._lanes.hold(False)

    async def _step(self) -> None:
        try:
            took = await self._consumer.step()
        except ApiError as error:
            if error.code not in _PASSING:
                raise
            log.warning("a peer is away; traces wait", reason=error.reason, message=error.message)
            self._lanes.hold(False)
            await asyncio.sleep(_PAUSE)
            return
        self._same_log = True
        self._lanes.hold(self._consumer.lag > 0)
        if took:
            await self._tell()
        else:
            await asyncio.sleep(0)

    async def _load(self) -> None:
        started = time.monotonic()
        log.info("loading the base model; receipts wait for it")
        await asyncio.get_running_loop().run_in_executor(self._lanes.first, self._attributor.load)
        log.info("base model loaded", seconds=round(time.monotonic() - started, 1))

    async def _read(self, after: int) -> Page[Any]:
        # `after` is on disk here, in the transaction of its receipts: OpenLoRA may let go what comes before, unless
        # this is a log made anew, of which nothing was read.
        acknowledged, self._same_log = after if self._same_log else 0, False
        request = openlora_pb2.ReadTracesRequest(
            after_offset=after, max_entries=self._batch, wait_seconds=self._wait, acknowledged_offset=acknowledged
        )
        reply = await self._peers.call(self._peers.openlora.ReadTraces, request, self._wait + 10)
        return Page([(e.offset, e) for e in reply.entries], reply.high_watermark, reply.log_epoch)

    async def _prepare(self, entries: Sequence[Any]) -> list[Issued | Refused]:
        """Receipts and dead letters for a page of traces.  A response that is settled already gets neither again."""
        terms = await self._terms.current()
        known = await self._database.read(lambda c: store.traces_of(c, {e.trace.response for e in entries}))
        grades = await self._database.read(lambda c: store_audits.grades(c, {e.trace.adapter for e in entries}))
        outcomes: list[Issued | Refused] = []
        for entry in entries:
            try:
                trace = trace_proto.from_proto(entry.trace)
            except ValueError as error:
                outcomes.append(_unreadable(entry, str(error)))
                continue
            settled_by = known.get(trace.response)
            if settled_by is None:
                known[trace.response] = trace.digest()
                outcomes.append(await self._attribute(trace, terms, grades.get(trace.adapter)))
            elif settled_by != trace.digest():
                message = (
                    f"{trace.response} has another trace already, {settled_by or 'unreadable'}: the first one counts"
                )
                outcomes.append(_refused(trace, "CONFLICTING_TRACE", message))
        return outcomes

    async def _attribute(self, trace: Trace, terms: Terms, grade: Grade | None) -> Issued | Refused:
        loop, started, cpu = asyncio.get_running_loop(), time.monotonic(), time.process_time()
        work = partial(self._attributor.attribute, trace, terms, grade)
        try:
            issued = await loop.run_in_executor(self._lanes.first, self._tries.counted, trace.response, work)
            if trace.adapter:
                self._want(trace.adapter)
            return issued
        except GivenUp as error:
            return _refused(trace, "TOO_LARGE_HERE", str(error))
        except Unattributable as error:
            if error.reason == "MEASUREMENT_FAILED":
                log.exception("a measurement failed in a way that has no reason of its own", response=trace.response)
            return _refused(trace, error.reason, error.message)
        finally:
            self._seconds.observe(time.monotonic() - started)
            self._cpu.inc(time.process_time() - cpu)

    def _apply(self, connection: Connection, outcomes: list[Issued | Refused]) -> None:
        store.commit(connection, self._receipts, outcomes, datetime.now(UTC))
        self._applied = outcomes

    async def _tell(self) -> None:
        """After the commit: metrics, log, artifacts, readers."""
        for outcome in self._applied:
            if isinstance(outcome, Issued):
                self._issued.inc()
                log.info("receipt", response=outcome.response, trace=outcome.trace_sha256)
            else:
                self._refused.labels(outcome.reason).inc()
                log.warning("dead letter", key=outcome.key, reason=outcome.reason, message=outcome.message)
        for outcome in self._applied:
            if isinstance(outcome, Issued):
                await asyncio.to_thread(self._artifacts.put, outcome.document)
        self._receipts.wake()


def _refused(trace: Trace, reason: str, message: str) -> Refused:
    return Refused(trace.response.removeprefix("responses/"), trace.payer, reason, message, trace.digest())


def _unreadable(entry: Any, message: str) -> Refused:
    """A message that is no trace: kept under its response if that is a name, else under its place in the log."""
    payer = entry.trace.payer
    try:
        names.account_address(payer)
    except ValueError:
        payer = ""
    try:
        (key,) = names.match("responses/*", entry.trace.response)
    except ValueError:
        key = f"~{entry.offset}"
    return Refused(key, payer, "BAD_TRACE", message, "")
