"""The verb: a receipt in words, with the parts of the answer that stand word for word in what those it pays gave.

Who may see the receipt is decided before; here it is decided what of the evidence: of contributors who are paid, and
the names of records to their contributor alone.  No texts.  Knows no gRPC and no database.
"""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum

from openledger import trace as traces
from openledger.adapters import SPAN_INDEX, TRAINING, read_manifest
from openledger.artifacts import ArtifactStore
from openledger.manifest import LineageManifest
from openledger.receipt import Receipt
from openledger.spans.index import SpanIndex
from openledger.trace import Trace
from services.attribution import words
from services.attribution.fetch import Fetcher
from services.attribution.quotes import Indexes, Quote, quotes
from services.attribution.texts import Places, Texts
from services.attribution.words import Share
from services.kit import logs

_POLL = 0.25
MOST_RECORDS = 100
"""Names of records that are told of one quote."""

log = logs.logger("attribution")


class Spans(StrEnum):
    """Whether quotes could be looked for."""

    READY = "READY"
    PENDING = "PENDING"
    NONE = "NONE"
    ERASED = "ERASED"
    UNAVAILABLE = "UNAVAILABLE"


SAID = {
    Spans.READY: "Parts of the answer that stand word for word in records of contributors who are paid; what the "
    "question says itself is not counted. They are shown for you to look at: nobody is paid by them.",
    Spans.PENDING: "The index of the training text is on its way here: ask again in some seconds.",
    Spans.NONE: "This model has no index of its training text: it is the base model alone, or was made before there "
    "were any.",
    Spans.ERASED: "A record that this model was made from is erased, and the index of its training text with it.",
    Spans.UNAVAILABLE: "The index of the training text cannot be had now: ask again later, or tell an operator.",
}


@dataclass(frozen=True)
class Explanation:
    """A receipt's reasons, for one caller."""

    summary: tuple[str, ...]
    shares: tuple[Share, ...]
    answer_tokens: int
    spans: Spans
    quotes: tuple[Quote, ...] = ()
    places: Places | None = None
    """Where tokens lie in the answer's text."""
    records: tuple[str, ...] = ()
    """Names of what was trained on, by place; those of others than the caller are empty."""


class Explainer:
    """What explanations are made of."""

    def __init__(
        self, artifacts: ArtifactStore, indexes: Indexes, fetcher: Fetcher, texts: Texts, worker: ThreadPoolExecutor
    ) -> None:
        """worker: threads of its own, since a large index takes seconds to be checked."""
        self._artifacts, self._indexes, self._fetcher, self._texts = artifacts, indexes, fetcher, texts
        self._worker = worker

    async def explain(self, receipt: Receipt, caller: str, wait: float) -> Explanation:
        """caller: address.  wait: seconds, for an index that is on its way."""
        deadline = time.monotonic() + wait
        while True:
            found = await asyncio.get_running_loop().run_in_executor(self._worker, self._explain, receipt, caller)
            if found.spans is Spans.PENDING:  # asked here: the fetcher lives in this thread
                found = replace(found, spans=Spans(self._fetcher.missing(receipt.model.adapter).value))
            if found.spans is not Spans.PENDING or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(_POLL)

    def _explain(self, receipt: Receipt, caller: str) -> Explanation:
        told, shares = words.summary(receipt), words.shares(receipt)
        try:
            trace = traces.parse(self._artifacts.get(receipt.trace_sha256))
            tokens = len(trace.completion_token_ids)
            lineage = self._lineage(receipt)
            if lineage is None or SPAN_INDEX not in lineage.private_files:
                return Explanation(told, shares, tokens, Spans.NONE)
            index = self._indexes.get(lineage)
            if index is None:
                return Explanation(told, shares, tokens, Spans.PENDING)
            paid = receipt.shares.keys() & receipt.evidence.scores.keys()
            places = self._texts.places(trace.base_sha256, trace.completion_token_ids)
            found = _quotes(index, trace, lineage, paid, places)
            records = self._records(lineage, caller) if caller in paid and found else ()
            return Explanation(told, shares, tokens, Spans.READY, found, places, records)
        except (OSError, ValueError, KeyError) as error:  # also of artifacts, manifests and span indexes
            log.warning("spans cannot be looked for", response=receipt.response, error=str(error))
            return Explanation(told, shares, 0, Spans.UNAVAILABLE)

    def _lineage(self, receipt: Receipt) -> LineageManifest | None:
        name = receipt.model.adapter
        return read_manifest(self._artifacts, name.rpartition("/")[2]) if name else None

    def _records(self, lineage: LineageManifest, caller: str) -> tuple[str, ...]:
        known = json.loads(self._artifacts.get(lineage.files[TRAINING]))["records"]
        return tuple(record if contributor == caller else "" for record, contributor in known)


def _quotes(
    index: SpanIndex, trace: Trace, lineage: LineageManifest, paid: set[str], places: Places | None
) -> tuple[Quote, ...]:
    starts = None if places is None else places.word_starts()
    return tuple(quotes(index, trace, sorted(lineage.contributors), paid, starts))
