"""A place in a text that a check has something to say about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.datanet.draft import Draft

SOURCE = "(source)"
"""The place of a record's source among its fields, none of which can be called so."""


@dataclass(frozen=True, order=True)
class Span:
    """`text[start:end]` is of this kind."""

    start: int
    end: int
    kind: str


def merged(spans: Iterable[Span]) -> list[Span]:
    """In order, and none over another: what overlaps becomes one, of the kind that was found first in `spans`."""
    ranked = sorted(enumerate(spans), key=lambda pair: (pair[1].start, pair[1].end))
    found: list[tuple[int, Span]] = []
    for rank, span in ranked:
        if found and span.start < found[-1][1].end:
            best, last = found[-1]
            kind = last.kind if best < rank else span.kind
            found[-1] = (min(best, rank), Span(last.start, max(last.end, span.end), kind))
        else:
            found.append((rank, span))
    return [span for _, span in found]


def described(found: Mapping[str, Sequence[Span]], names: Mapping[str, str]) -> str:
    """What was found and where, such as "'body': e-mail address (2), name"; never the text itself."""
    told = []
    for place, spans in found.items():
        counts = Counter(names[span.kind] for span in spans)
        kinds = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(counts.items()))
        told.append(f"{place!r}: {kinds}")
    return "; ".join(told)


def texts(draft: Draft) -> dict[str, str]:
    """All that a record says, by field id and `SOURCE`."""
    return {**draft.fields, SOURCE: draft.source}
