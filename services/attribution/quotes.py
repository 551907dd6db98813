"""What of an answer stands word for word in training records, and in whose: by a span index.

Names contributors alone of those that it is asked about, and records by their places in the training.  Knows no gRPC,
and not where indexes are from.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from openledger.spans.evidence import Rule, Span, find
from openledger.spans.index import SpanIndex
from openledger.spans.layout import SpanIndexError
from openledger.spans.match import Matches
from openledger.trace import Trace

RULE = Rule()


@dataclass(frozen=True)
class Source:
    """A contributor in whose records a quote stands."""

    contributor: str
    """Lower-case address."""
    records: tuple[int, ...]
    """Places in the list of records that the model was trained on."""
    occurrences: int


@dataclass(frozen=True)
class Quote:
    """Tokens `start` to `end` (not included) of the answer.  bits: how rare they are."""

    start: int
    end: int
    bits: float
    sources: tuple[Source, ...]


def quotes(
    index: SpanIndex,
    trace: Trace,
    contributors: Sequence[str],
    shown: Collection[str],
    word_starts: Sequence[bool] | None,
) -> list[Quote]:
    """The quotes in an answer that stand in records of those in `shown`; what the prompt says is not counted.

    contributors: of the revision, in the order of its contribution index.  word_starts: see `find`.
    Raises `SpanIndexError` for an index that is damaged, or of other contributors.
    """
    if index.header.owners != len(contributors):
        raise SpanIndexError(f"the span index is of {index.header.owners} contributors, not of {len(contributors)}")
    answer = trace.completion_token_ids
    spans = find(index, trace.prompt_token_ids, answer, RULE, word_starts=word_starts)
    if not spans:
        return []
    matches = Matches(index, index.symbols(answer), RULE.min_tokens)
    found = []
    for span in spans:
        sources = _sources(index, matches, span, contributors, shown)
        if sources:
            found.append(Quote(span.start, span.end, span.bits, sources))
    return found


def _sources(
    index: SpanIndex, matches: Matches, span: Span, contributors: Sequence[str], shown: Collection[str]
) -> tuple[Source, ...]:
    places = matches.places(span.start, span.end, RULE.max_places)
    if places is None:
        return ()
    documents = index.documents_at(places)
    owners, records = index.owners[documents], index.records[documents]
    sources = []
    for owner in np.unique(owners).tolist():
        if contributors[owner] in shown:
            theirs = records[owners == owner]
            sources.append(Source(contributors[owner], tuple(np.unique(theirs).tolist()), len(theirs)))
    return tuple(sources)
