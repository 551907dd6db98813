"""Evidence by brute force: the second implementation that openledger.spans is held to.  No suffix array, no numpy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from openledger.spans.build import Document
from openledger.spans.evidence import Rule, Source, Span

SALT = bytes(range(32))


def occurrences(documents: Sequence[Document], wanted: Sequence[int]) -> list[tuple[int, int]]:
    """(document, offset) of every place where these tokens stand."""
    size, wanted = len(wanted), list(wanted)
    return [
        (number, offset)
        for number, document in enumerate(documents)
        for offset in range(len(document.tokens) - size + 1)
        if list(document.tokens[offset : offset + size]) == wanted
    ]


def maximal(documents: Sequence[Document], answer: Sequence[int], least: int) -> list[tuple[int, int]]:
    """Spans that occur, are long enough, and of which no longer one occurs."""
    there = {
        (start, end)
        for start in range(len(answer))
        for end in range(start + 1, len(answer) + 1)
        if occurrences(documents, answer[start:end])
    }
    return sorted(
        (start, end)
        for start, end in there
        if end - start >= least and (start - 1, end) not in there and (start, end + 1) not in there
    )


def find(
    documents: Sequence[Document],
    owners: int,
    prompt: Sequence[int],
    answer: Sequence[int],
    rule: Rule,
    word_starts: Sequence[bool] | None = None,
) -> list[Span]:
    words = [True] * len(answer) if word_starts is None else list(word_starts)
    own = [not _echoed(prompt, answer, k, rule.prompt_run) for k in range(len(answer))]
    counts = Counter(token for document in documents for token in document.tokens)
    total = sum(counts.values())
    cut = set()
    for first, last in maximal(documents, answer, rule.min_tokens):
        starts = [k for k in range(first, last) if own[k] and words[k]]
        ends = [k + 1 for k in range(first, last) if own[k] and (k + 1 == len(answer) or words[k + 1])]
        if starts and ends and starts[0] < ends[-1]:
            cut.add((starts[0], ends[-1]))
    spans = []
    for start, end in sorted(cut):
        if any(s <= start and end <= e and (s, e) != (start, end) for s, e in cut):
            continue
        mine = [token for token, counted in zip(answer[start:end], own[start:end], strict=True) if counted]
        millibits = sum(round(-1000 * math.log2(counts[token] / total)) for token in mine)
        places = occurrences(documents, answer[start:end])
        earliest: dict[int, Source] = {}
        for number, offset in places:
            document = documents[number]
            earliest.setdefault(document.owner, Source(document.owner, document.record, offset))
        if (
            len(mine) >= rule.min_tokens
            and millibits >= 1000 * rule.margin_bits + round(1000 * math.log2(total))
            and len(places) <= rule.max_places
            and not (len(earliest) > rule.few_owners and len(earliest) > rule.common_permille * owners / 1000)
        ):
            sources = tuple(list(earliest.values())[: rule.named])
            spans.append(Span(start, end, len(places), len(earliest), millibits / 1000, sources))
    return spans


def _echoed(prompt: Sequence[int], answer: Sequence[int], at: int, run: int) -> bool:
    """Whether a run of so many tokens of the answer that holds this one stands in the prompt."""
    for first in range(max(at - run + 1, 0), at + 1):
        piece = list(answer[first : first + run])
        if len(piece) == run and any(list(prompt[k : k + run]) == piece for k in range(len(prompt))):
            return True
    return False
