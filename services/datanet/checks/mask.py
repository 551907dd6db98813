"""Texts with what was found in them replaced: [EMAIL 1], [NAME 2].

Inside one record the same thing has the same number, so that a masked text still says who is who; nothing is the same
in two records.  What a mask stands for can not be computed from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.datanet.checks.span import Span


def masked(fields: Mapping[str, str], found: Mapping[str, Sequence[Span]]) -> dict[str, str]:
    """The fields with their spans, which do not overlap, replaced.  Fields without spans stay as they are."""
    numbers: dict[tuple[str, str], int] = {}
    return {name: _text(text, sorted(found.get(name, ())), numbers) for name, text in fields.items()}


def _text(text: str, spans: Sequence[Span], numbers: dict[tuple[str, str], int]) -> str:
    parts, done = [], 0
    for span in spans:
        said = (span.kind, " ".join(text[span.start : span.end].split()).casefold())
        number = numbers.setdefault(said, 1 + sum(kind == span.kind for kind, _ in numbers))
        parts += [text[done : span.start], f"[{span.kind} {number}]"]
        done = span.end
    return "".join((*parts, text[done:]))
