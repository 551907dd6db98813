"""Reads the service's own receipts and audits those that are drawn, each once, in the background.

It keeps its place as the reader of any stream does.  What cannot be audited, now or later, is told in the log and
passed over: an audit is a spot check, and holds up no receipt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Connection

from openledger import canonical
from openledger import receipt as receipts
from services.attribution import store, store_audits
from services.attribution.audit import Auditor
from services.attribution.store_audits import Audited
from services.attribution.traces import TraceGone, Traces
from services.attribution.tries import Tries
from services.kit import logs
from services.kit.consumer import Consumer, Page
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.metrics import Metrics

SOURCE = "receipts"
_PAGE, _WAIT = 20, 20.0

log = logs.logger("attribution")


class Auditing:
    """`run` for ever, in one task."""

    def __init__(
        self,
        database: Database,
        receipts_log: DurableLog,
        auditor: Auditor,
        traces: Traces,
        metrics: Metrics,
    ) -> None:
        self._log, self._auditor, self._traces, self._tries = receipts_log, auditor, traces, Tries(database)
        self._applied: list[Audited] = []
        self._consumer = Consumer(database, store.METADATA, SOURCE, self._read, self._prepare, self._apply)
        self._audits = metrics.counter("answers_audited_total", "Answers whose scores were held against retraining")
        self._agreement = metrics.histogram("answer_agreement", "Rank correlation of scores with retraining")

    async def run(self) -> None:
        """Audit what comes.  Errors are the caller's to count and to retry; nothing is lost by them."""
        while True:
            if await self._consumer.step():
                self._tell()
            else:
                await asyncio.sleep(0)

    async def _read(self, after: int) -> Page[bytes]:
        batch = await self._log.read(after, _PAGE, _WAIT)
        return Page([(entry.offset, entry.payload) for entry in batch.entries], batch.high_watermark, batch.epoch)

    async def _prepare(self, documents: Sequence[bytes]) -> list[Audited]:
        found = []
        for document in documents:
            try:
                receipt = receipts.parse(document)
                if not self._auditor.draws(receipt):
                    continue
                audit = partial(self._auditor.audit, receipt, await self._traces.of(receipt))
                audited = await asyncio.to_thread(self._tries.counted, f"audit/{receipt.response}", audit)
            except (OSError, MemoryError):
                raise  # may pass: tried again, so that bad luck with a disk chooses nothing
            except TraceGone as error:
                log.warning(
                    "an answer that was drawn is not audited", receipt=canonical.sha256(document), error=str(error)
                )
                continue
            except Exception:
                log.exception("an answer could not be audited", receipt=canonical.sha256(document))
                continue
            if audited is not None:
                found.append(audited)
        return found

    def _apply(self, connection: Connection, audited: list[Audited]) -> None:
        store_audits.keep(connection, audited, datetime.now(UTC))
        for revision in sorted({each.revision for each in audited}):
            found = store_audits.audits(connection, revision, self._auditor.share_bps)
            store_audits.keep_grade(connection, self._auditor.grade(revision, found))
        self._applied = audited

    def _tell(self) -> None:
        """After the commit: metrics, log."""
        for each in self._applied:
            self._audits.inc()
            self._agreement.observe(each.paid)
            log.info("audited", response=each.response, agreement=round(each.paid, 3), document=each.document_sha256)
