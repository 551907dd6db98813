"""How much an evaluation may cost, and which records it looks at within that.

Costs are counted in tokens and answers, not in seconds, so that the same run gives the same report on a busy machine.
This module does not know what is measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from services.factory.data import Example


@dataclass(frozen=True)
class Budget:
    """Upper bounds.  Raises ValueError for a negative one.

    Measured with the defaults, SmolLM2-135M, 144 records trained on and 16 held out: 41 s of CPU time, 20 s on two
    cores, and 0.2 GB beside the model.  1,000 tokens under base and tuned model are 5 s of it, 16 answers 8 s.
    """

    held_out_tokens: int = 32_768
    """Of held-out records, prompt and completion; what exceeds it is left out, at random."""
    trained_tokens: int = 1_536
    """Of records trained on, to compare with held-out ones."""
    trivia: int = 32
    """Questions of general knowledge."""
    samples: int = 3
    """Held-out prompts answered by base and tuned model, side by side."""
    probes: int = 16
    """Prompts from training, and as many held-out ones, answered in search of recited text."""
    probe_tokens: int = 2_048
    """Of either kind of those prompts."""
    new_tokens: int = 32
    """Longest answer that is generated."""
    canaries: int = 4
    """Canaries whose exposure is measured: 2 s of CPU time each in that measurement."""
    alternatives: int = 64
    """Secrets that a canary's is ranked among, its own included; exposure ends at log2 of it."""
    resamples: int = 2_000
    """Of every bootstrap interval."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} must not be negative, got {getattr(self, field.name)}")


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """In an order that depends on seed and record names alone."""
    return sorted(examples, key=lambda example: _draw(example.record, seed))


def in_turn(examples: Sequence[Example], seed: int) -> list[Example]:
    """One of each contributor, then a second of each, and so on, so that a few already show many people's data."""
    rounds: dict[str, int] = {}
    order = []
    for example in shuffled(examples, seed):
        turn = rounds[example.contributor] = rounds.get(example.contributor, 0) + 1
        order.append((turn, example))
    return [example for _, example in sorted(order, key=lambda pair: pair[0])]


def within(lengths: Sequence[int], tokens: int) -> int:
    """How many of the first lengths sum to at most ``tokens``; at least one, where there are any and tokens > 0."""
    total = 0
    for number, length in enumerate(lengths):
        total += length
        if total > tokens:
            return max(number, min(1, tokens))
    return len(lengths)


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices of sequences by length, in groups whose padded size stays within ``tokens`` (at least one each)."""
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if group and (len(group) + 1) * lengths[i] > tokens:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def _draw(record: str, seed: int) -> bytes:
    return hashlib.sha256(f"evaluation\n{seed}\n{record}".encode()).digest()
