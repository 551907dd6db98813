"""What becomes of traces, whichever log they stand in: a receipt or a dead letter of each, once.

A trace that cannot be attributed never holds up the next one; what may pass (a ledger that is away, a disk that fails,
memory that is short) is raised, and nothing has changed then.  Receipts are published after the transaction that makes
them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection

from openledger import names, trace_proto
from openledger.artifacts import ArtifactStore
from openledger.grade import Grade
from openledger.trace import Trace, unix_seconds
from services.attribution import store, store_audits, store_traces
from services.attribution.attribute import Attributor, publish_rest
from services.attribution.lanes import Lanes
from services.attribution.score import Terms, Unattributable
from services.attribution.store import Issued, Refused
from services.attribution.store_traces import SealedTrace
from services.attribution.terms import TermsSource
from services.attribution.traces import Traces
from services.attribution.tries import GivenUp, Tries
from services.kit import logs
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.metrics import Metrics

log = logs.logger("attribution")


@dataclass(frozen=True)
class Settled:
    """What became of a trace, and the trace itself, sealed; None where it is published, is none, or is here already."""

    outcome: Issued | Refused
    trace: SealedTrace | None = None


class Outcomes:
    """For the readers of all logs; measuring happens in the first of the lanes, one trace after the other."""

    def __init__(
        self,
        database: Database,
        receipts: DurableLog,
        artifacts: ArtifactStore,
        traces: Traces,
        attributor: Attributor,
        terms: TermsSource,
        lanes: Lanes,
        metrics: Metrics,
        *,
        want: Callable[[str], None],
    ) -> None:
        """want: told of every adapter revision that a receipt is issued for."""
        self._database, self._receipts, self._artifacts = database, receipts, artifacts
        self._traces, self._tries = traces, Tries(database)
        self._attributor, self._terms, self._lanes, self._want = attributor, terms, lanes, want
        self._issued = metrics.counter("receipts_total", "Receipts issued")
        self._refused = metrics.counter("dead_letters_total", "Traces that could not be attributed", "reason")
        self._seconds = metrics.histogram("scoring_seconds", "From a trace to its signed receipt")
        waits = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
        self._delay = metrics.histogram(
            "receipt_delay_seconds",
            "From the end of an answer to its receipt, the wait before it included",
            buckets=waits,
        )
        self._unpublished: deque[bytes] = deque()
        self._publishing = asyncio.Lock()
        self._cpu = metrics.counter("scoring_cpu_seconds_total", "CPU time of the process while it measures")

    async def open(self) -> None:
        """Publish what a former life had committed, and load the base model."""
        await publish_rest(self._receipts, self._artifacts)
        started = time.monotonic()
        log.info("loading the base model; receipts wait for it")
        await asyncio.get_running_loop().run_in_executor(self._lanes.first, self._attributor.load)
        log.info("base model loaded", seconds=round(time.monotonic() - started, 1))

    async def prepare(self, entries: Sequence[Any], replica: str) -> list[Settled]:
        """Receipts and dead letters for a page of a replica's traces.

        A response that is settled already gets neither again.
        """
        known = await self._database.read(lambda c: store.traces_of(c, {e.trace.response for e in entries}))
        grades = await self._database.read(lambda c: store_audits.grades(c, {e.trace.adapter for e in entries}))
        outcomes: list[Settled] = []
        for entry in entries:
            try:
                trace = trace_proto.from_proto(entry.trace)
            except ValueError as error:
                outcomes.append(Settled(_unreadable(entry, replica, str(error))))
                continue
            settled_by = known.get(trace.response)
            if settled_by is None:
                known[trace.response] = trace.digest()
                terms = await self._terms.of(trace.adapter, trace.end_time)
                outcome = await self._attribute(trace, terms, grades.get(trace.adapter))
                outcomes.append(Settled(outcome, await self._traces.seal(trace)))
            elif settled_by != trace.digest():
                message = (
                    f"{trace.response} has another trace already, {settled_by or 'unreadable'}: the first one counts"
                )
                outcomes.append(Settled(_refused(trace, "CONFLICTING_TRACE", message)))
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

    def apply(self, connection: Connection, settled: Sequence[Settled]) -> None:
        """Keep them, in the caller's transaction."""
        store.commit(connection, self._receipts, [each.outcome for each in settled], datetime.now(UTC))
        store_traces.keep(connection, [each.trace for each in settled if each.trace is not None])

    async def tell(self, settled: Sequence[Settled]) -> None:
        """After the commit: metrics, log, artifacts, readers."""
        outcomes = [each.outcome for each in settled]
        for outcome in outcomes:
            if isinstance(outcome, Issued):
                self._issued.inc()
                self._delay.observe(max(0.0, time.time() - unix_seconds(outcome.end_time)))
                log.info("receipt", response=outcome.response, trace=outcome.trace_sha256)
            else:
                self._refused.labels(outcome.reason).inc()
                log.warning("dead letter", key=outcome.key, reason=outcome.reason, message=outcome.message)
        self._unpublished += [outcome.document for outcome in outcomes if isinstance(outcome, Issued)]
        await self.publish()
        self._receipts.wake()

    async def publish(self) -> None:
        """Publish what is committed, going on where that failed before; nothing more is taken in until then."""
        async with self._publishing:
            while self._unpublished:
                await asyncio.to_thread(self._artifacts.put, self._unpublished[0])
                self._unpublished.popleft()


def _refused(trace: Trace, reason: str, message: str) -> Refused:
    return Refused(trace.response.removeprefix("responses/"), trace.payer, reason, message, trace.digest())


def _unreadable(entry: Any, replica: str, message: str) -> Refused:
    """A message that is no trace: kept under its response if that is a name, else under its place in its log."""
    payer = entry.trace.payer
    try:
        names.account_address(payer)
    except ValueError:
        payer = ""
    try:
        (key,) = names.match("responses/*", entry.trace.response)
    except ValueError:
        key = f"~{replica}.{entry.offset}" if replica else f"~{entry.offset}"
    return Refused(key, payer, "BAD_TRACE", message, "")
