"""An answer's evidence: the spans that are worth showing, whose they are, and how rare.

Not every maximal span is evidence.  Left out are, by a published `Rule`:

- what the prompt says: an answer's tokens in a run that stands in the prompt too are *echoed*.  A span does not begin
  or end with them, and they add nothing to its length and rarity, so pasting a text earns no evidence of it;
- what is short;
- what chance explains.  Rarity is the sum over the span's own tokens of -log2 of their share in the text (OLMoTrace
  ranks by the same product of unigram probabilities).  Were tokens drawn independently, a span of r bits would be
  expected 2**-r times the text's length; that must be less than 2**-margin.  So a longer text asks for rarer spans;
- what is common: in the records of more than a few contributors, or more often than is worth looking through.

Independence is a crude model: a set phrase is less surprising than its words, so rarity ranks and filters, and is no
probability.  The text is its own background; in a small one the field's own words look common.  Knows no tokenizer, and
does not know whether the model took the words from these records: that is what scores are for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from openledger.spans.index import U32, SpanIndex, to_bytes
from openledger.spans.layout import SpanIndexError
from openledger.spans.match import Matches

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rule:
    """Which spans are shown.  All are whole numbers."""

    min_tokens: int = 6
    """Of the answer's own tokens in a span, echoed ones not counted."""
    prompt_run: int = 3
    """Tokens in a row that stand in the prompt from which they count as echoed."""
    margin_bits: int = 10
    """A span must be so much rarer than chance explains: 10 bits are a thousandfold."""
    few_owners: int = 4
    """A phrase of so many contributors is never common for that."""
    common_permille: int = 50
    """Else one is common that more than this share of all contributors have."""
    max_places: int = 4096
    """And whatever stands in the text more often."""
    named: int = 10
    """Owners named of a span at most."""

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that make no rule."""
        for field in fields(self):
            if type(getattr(self, field.name)) is not int or getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} must be a whole number, not negative")
        if not 1 <= self.prompt_run <= self.min_tokens:
            raise ValueError("prompt_run must be from 1 to min_tokens: shorter spans could not be told from the prompt")

    def common(self, owners: int, of: int) -> bool:
        """Whether a phrase that so many of all contributors have is common."""
        return owners > self.few_owners and owners * 1000 > self.common_permille * of


@dataclass(frozen=True)
class Source:
    """Where a span stands: the earliest place of one contributor."""

    owner: int
    record: int
    offset: int
    """Tokens before it in its document."""


@dataclass(frozen=True)
class Span:
    """Tokens ``start`` to ``end`` (not included) of an answer, which stand in the training text word for word."""

    start: int
    end: int
    count: int
    """How often they stand there."""
    owners: int
    """Contributors in whose records they stand."""
    bits: float
    """Rarity of the tokens that are not echoed."""
    sources: tuple[Source, ...]
    """One for each contributor, the earliest records first; no more than the rule names."""


def find(
    index: SpanIndex,
    prompt: Sequence[int],
    answer: Sequence[int],
    rule: Rule | None = None,
    *,
    word_starts: Sequence[bool] | None = None,
) -> list[Span]:
    """The spans of an answer's token ids that are evidence by the rule, in the answer's order.  They may overlap.

    ``word_starts`` says of each token of the answer whether it begins a word; then spans are cut to whole words.
    Raises SpanIndexError for a damaged index, and ValueError for another number of word starts than of tokens.
    """
    rule = rule or Rule()
    if word_starts is not None and len(word_starts) != len(answer):
        raise ValueError(f"the answer has {len(answer)} tokens, and {len(word_starts)} word starts were given")
    symbols = index.symbols(answer)
    matches = Matches(index, symbols, rule.min_tokens)
    spans = matches.maximal()
    if not spans:
        return []
    own = ~_echoed(prompt, answer, rule.prompt_run)
    starts = np.ones(len(answer), dtype=bool) if word_starts is None else np.array(word_starts, dtype=bool)
    length = np.concatenate(([0], np.cumsum(own)))
    millibits = np.concatenate(([0], np.cumsum(index.millibits[symbols] * own)))
    least = 1000 * rule.margin_bits + round(1000 * math.log2(index.header.tokens))
    found = []
    for start, end in _trimmed(spans, own & starts, own & np.append(starts[1:], True)):
        rarity = int(millibits[end] - millibits[start])
        if length[end] - length[start] >= rule.min_tokens and rarity >= least:
            places = matches.places(start, end, rule.max_places)
            span = None if places is None else _span(index, symbols[start:end], start, places, rarity, rule)
            found += [span] if span else []
    return found


def _echoed(prompt: Sequence[int], answer: Sequence[int], run: int) -> Bools:
    """Which tokens of an answer are in a run of so many that the prompt has too: bool [n]."""
    said = {tuple(prompt[k : k + run]) for k in range(len(prompt) - run + 1)}
    echoed = np.zeros(len(answer), dtype=bool)
    for k in range(len(answer) - run + 1):
        if tuple(answer[k : k + run]) in said:
            echoed[k : k + run] = True
    return echoed


def _trimmed(spans: list[tuple[int, int]], may_begin: Bools, may_end: Bools) -> list[tuple[int, int]]:
    """Spans cut at both ends to where one may begin and end, without those that then lie in another."""
    begins = np.append(np.flatnonzero(may_begin), len(may_begin))
    ends = np.append(0, np.flatnonzero(may_end) + 1)
    given = np.array(spans)
    first = begins[np.searchsorted(begins, given[:, 0])].tolist()
    last = ends[np.searchsorted(ends, given[:, 1], side="right") - 1].tolist()
    cut = {(start, end) for start, end in zip(first, last, strict=True) if start < end}
    kept: list[tuple[int, int]] = []
    for span in sorted(cut, key=lambda span: (span[0], -span[1])):
        if not kept or span[1] > kept[-1][1]:
            kept.append(span)
    return kept


def _span(index: SpanIndex, symbols: Ints, start: int, places: U32, rarity: int, rule: Rule) -> Span | None:
    """A span with whose it is; None when it is common."""
    documents = index.documents_at(places)
    owners = index.owners[documents].tolist()
    earliest = dict(zip(reversed(owners), reversed(range(len(owners))), strict=True))  # the last to be set is the first
    if rule.common(len(earliest), index.header.owners):
        return None
    written = to_bytes(symbols, index.width).tobytes()
    sources = []
    for owner, k in sorted(earliest.items(), key=lambda found: found[1])[: rule.named]:
        place, document = int(places[k]), int(documents[k])
        if index.piece(place, len(written)) != written:
            raise SpanIndexError("the span index is damaged: its suffix array is not in order")
        offset = place - int(index.starts[document])
        sources.append(Source(owner, int(index.records[document]), offset))
    return Span(start, start + len(symbols), len(places), len(earliest), rarity / 1000, tuple(sources))
