"""Variants of a text, as somebody makes them who passes it off as new; each drawn by the generator that is given."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence

Variant = Callable[[str, random.Random, Sequence[str]], str]
"""Of a text; the last are words to take from."""

REWORDINGS = {
    "a number of": "several", "abnormal": "atypical", "abnormality": "anomaly", "absence": "lack",
    "accompanied by": "together with", "also known as": "or", "associated with": "linked to",
    "because of": "owing to", "between": "among", "caused by": "due to", "characterized by": "marked by",
    "decreased": "lowered", "defect": "flaw", "deficiency": "shortage", "due to": "because of",
    "enlarged": "bigger", "excessive": "too much", "function": "working", "given": "passed", "in order to": "to",
    "inability": "failure", "increased": "raised", "individual": "person", "located": "found", "lower": "bottom",
    "multiple": "many", "normal": "usual", "number": "amount", "occurs": "happens", "often": "frequently",
    "presence": "occurrence", "reduced": "lessened", "refers to": "means", "region": "area",
    "resulting in": "leading to", "return": "give back", "returns": "gives back", "severe": "grave",
    "small": "little", "specified": "named", "such as": "like", "that is": "which is", "the following": "this",
    "upper": "top", "used": "employed", "usually": "mostly", "whether": "if", "with respect to": "regarding",
}  # fmt: skip
"""What is said otherwise in a paraphrase: those that a person writes change much more."""


def case(text: str, *_: object) -> str:
    """All letters capitals."""
    return text.upper()


def punctuation(text: str, *_: object) -> str:
    """Without any."""
    return " ".join(re.sub(r"[^\w\s]", " ", text).split())


def clauses(text: str, *_: object) -> str:
    """What commas and full stops part, the other way round."""
    return ", ".join(reversed([part for part in re.split(r"[,.;:]\s+|[.]$", text) if part]))


def shuffled(text: str, rng: random.Random, *_: object) -> str:
    """All words in any order."""
    parts = text.split()
    return " ".join(rng.sample(parts, len(parts)))


def reworded(text: str, *_: object) -> str:
    """`REWORDINGS`, and the clauses the other way round."""
    pattern = r"\b(" + "|".join(sorted(map(re.escape, REWORDINGS), key=len, reverse=True)) + r")\b"
    return clauses(re.sub(pattern, lambda m: REWORDINGS[m[0].lower()], text, flags=re.IGNORECASE))


def padded(text: str, rng: random.Random, words: Sequence[str]) -> str:
    """With half as many other words behind it."""
    return " ".join((text, *rng.choices(words, k=len(text.split()) // 2)))


def joined(text: str, rng: random.Random, words: Sequence[str]) -> str:
    """With twice as many other words behind it, as where three texts are given as one."""
    return " ".join((text, *rng.choices(words, k=2 * len(text.split()))))


def third(text: str, rng: random.Random, *_: object) -> str:
    """One of its three parts, as where each is given as a text of its own."""
    parts = text.split()
    start = rng.randrange(3) * (len(parts) // 3)
    return " ".join(parts[start : start + max(1, len(parts) // 3)])


def exchanged(share: float) -> Variant:
    """So many words for others; at least one."""

    def vary(text: str, rng: random.Random, words: Sequence[str]) -> str:
        parts = text.split()
        for place in _places(parts, share, rng):
            parts[place] = rng.choice(words)
        return " ".join(parts)

    return vary


def edited(share: float) -> Variant:
    """So many words exchanged, left out, or another put before them, each as often; at least one."""

    def vary(text: str, rng: random.Random, words: Sequence[str]) -> str:
        parts = text.split()
        for place in sorted(_places(parts, share, rng), reverse=True):
            kind = rng.randrange(3)
            parts[place : place + (kind < 2)] = [] if kind == 1 else [rng.choice(words)]
        return " ".join(parts)

    return vary


VARIANTS: Mapping[str, Variant] = {
    "case": case,
    "punctuation": punctuation,
    "clauses": clauses,
    "shuffled": shuffled,
    **{f"edited_{percent}": edited(percent / 100) for percent in (10, 20, 30)},
    **{f"exchanged_{percent}": exchanged(percent / 100) for percent in (10, 20, 30, 40, 50)},
    "padded": padded,
    "joined": joined,
    "third": third,
    "reworded": reworded,
}


def _places(parts: Sequence[str], share: float, rng: random.Random) -> list[int]:
    return rng.sample(range(len(parts)), max(1, round(share * len(parts)))) if parts else []
