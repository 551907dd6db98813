"""Answers of the base model and of the tuned one side by side, for people to read.

Greedy: the same answers every time.  They hold contributors' texts and must not be published with the figures.  This
module judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.factory.data import Example
from services.factory.evaluation.chat import Reader
from services.factory.evaluation.generate import Answer


@dataclass(frozen=True)
class Sample:
    """One held-out prompt.  An answer that reached the longest length allowed stops in the middle."""

    record: str
    prompt: str
    base: str
    tuned: str
    reference: str
    """What the contributor wrote."""


def side_by_side(
    examples: Sequence[Example], base: Sequence[Answer], tuned: Sequence[Answer], reader: Reader
) -> tuple[Sample, ...]:
    return tuple(
        Sample(
            record=example.record,
            prompt=reader.question(example.prompt),
            base=reader.text(before),
            tuned=reader.text(after),
            reference=reader.text(example.completion),
        )
        for example, before, after in zip(examples, base, tuned, strict=True)
    )
