"""The verb: a receipt in words, with the parts of the answer that stand word for word in what those it pays gave.

And, by `services.attribution.records`, with which of their records it resembles.

Who may see the receipt, and who the answer, is decided before; here it is decided what of the evidence: what an answer
quotes and resembles to who may have it; of contributors who are paid, and the names of records to their contributor
alone.  No texts.  Knows no gRPC and no database.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from openledger.adapters import trained_on
from openledger.artifacts import ArtifactStore
from openledger.manifest import LineageManifest
from openledger.receipt import Receipt
from openledger.spans.index import SpanIndex
from openledger.trace import Trace
from services.attribution import records, words
from services.attribution.quotes import Quote, quotes
from services.attribution.records import DrillDown, Drilled
from services.attribution.shelf import Availability, Shelf
from services.attribution.texts import Places, Texts
from services.attribution.traces import TraceGone, Traces
from services.attribution.words import Share
from services.kit import logs

MOST_RECORDS = 100
"""Names of records that are told of one quote."""

log = logs.logger("attribution")


SAID = {
    Availability.READY: "Parts of the answer that stand word for word in records of contributors who are paid; what "
    "the question says itself is not counted. They are shown for you to look at: nobody is paid by them.",
    Availability.PENDING: "The index of the training text is on its way here: ask again in some seconds.",
    Availability.NONE: "This model has no index of its training text: it is the base model alone, the sum of "
    "other models, or was made before there were any.",
    Availability.ERASED: "A record that this model was made from is erased, and the index of its training text with "
    "it.",
    Availability.UNAVAILABLE: "The index of the training text cannot be had now: ask again later, or tell an operator.",
    Availability.FORGOTTEN: "Question and answer are not kept any more: their payer had them made unreadable, or they "
    "are old. So it cannot be looked for what they quote.",
    Availability.PRIVATE: "Question and answer are their payer's alone, who did not publish them, and so is what they "
    "quote. Who paid can ask, and can give the receipt and the trace to you.",
}


@dataclass(frozen=True)
class Explanation:
    """A receipt's reasons, for one caller."""

    summary: tuple[str, ...]
    shares: tuple[Share, ...]
    answer_tokens: int
    spans: Availability
    quotes: tuple[Quote, ...] = ()
    places: Places | None = None
    """Where tokens lie in the answer's text."""
    records: tuple[str, ...] = ()
    """Names of what was trained on, by place; those of others than the caller are empty."""
    drilled: Drilled | None = None
    """Once it was looked for."""


class Explainer:
    """What explanations are made of."""

    def __init__(
        self,
        artifacts: ArtifactStore,
        traces: Traces,
        indexes: Shelf[SpanIndex],
        texts: Texts,
        drill_down: DrillDown,
        worker: ThreadPoolExecutor,
    ) -> None:
        self._artifacts, self._traces, self._indexes, self._texts = artifacts, traces, indexes, texts
        self._drill_down, self._worker = drill_down, worker

    async def explain(self, receipt: Receipt, caller: str, scorer: str, wait: float, *, may_read: bool) -> Explanation:
        """caller: address.  scorer: of records.  wait: seconds, for files that are on their way.

        may_read: whether the caller may have question and answer also where they are not published.
        """
        deadline, loop = time.monotonic() + wait, asyncio.get_running_loop()
        trace = await self._trace(receipt, may_read)
        private = trace is Availability.PRIVATE
        index = Availability.PRIVATE if private else await self._indexes.get(receipt.model.adapter, wait)
        told = await loop.run_in_executor(self._worker, self._explain, receipt, caller, trace, index)
        if private:
            return replace(told, drilled=Drilled(Availability.PRIVATE, records.SAID[Availability.PRIVATE], scorer))
        left = max(0.0, deadline - time.monotonic())
        return replace(told, drilled=await self._drill_down.find(receipt, caller, scorer, left))

    async def _trace(self, receipt: Receipt, may_read: bool) -> Trace | Availability:
        if not may_read and not await self._traces.published(receipt.trace_sha256):
            return Availability.PRIVATE
        try:
            return await self._traces.of(receipt)
        except TraceGone:
            return Availability.FORGOTTEN
        except (OSError, ValueError) as error:  # also of artifacts
            log.warning("a trace cannot be read", response=receipt.response, error=str(error))
            return Availability.UNAVAILABLE

    def _explain(
        self,
        receipt: Receipt,
        caller: str,
        trace: Trace | Availability,
        found: tuple[LineageManifest, SpanIndex] | Availability,
    ) -> Explanation:
        told, shares = words.summary(receipt), words.shares(receipt)
        if isinstance(trace, Availability):
            return Explanation(told, shares, 0, trace)
        try:
            tokens = len(trace.completion_token_ids)
            if isinstance(found, Availability):
                return Explanation(told, shares, tokens, found)
            lineage, index = found
            paid = receipt.shares.keys() & receipt.evidence.scores.keys()
            places = self._texts.places(trace.base_sha256, trace.completion_token_ids)
            quoted = _quotes(index, trace, lineage, paid, places)
            records = self._records(lineage, caller) if caller in paid and quoted else ()
            return Explanation(told, shares, tokens, Availability.READY, quoted, places, records)
        except (OSError, ValueError, KeyError) as error:  # also of span indexes
            log.warning("spans cannot be looked for", response=receipt.response, error=str(error))
            return Explanation(told, shares, 0, Availability.UNAVAILABLE)

    def _records(self, lineage: LineageManifest, caller: str) -> tuple[str, ...]:
        known = trained_on(self._artifacts, lineage)
        return tuple(record if contributor == caller else "" for record, contributor in known)


def _quotes(
    index: SpanIndex, trace: Trace, lineage: LineageManifest, paid: set[str], places: Places | None
) -> tuple[Quote, ...]:
    starts = None if places is None else places.word_starts()
    return tuple(quotes(index, trace, sorted(lineage.contributors), paid, starts))
