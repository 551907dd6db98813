"""Whether the model recites: the longest run of tokens that an answer shares with any text it was trained on.

Runs that the prompt already says do not count.  The yardstick is what people's own held-out texts share with the ones
trained on: set phrases of the trade.  What the model answers to held-out prompts is none, since a model that learned by
heart recites there, too.  This module generates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
ECHO = 3
"""A run of so many tokens that stands in the prompt, too, is an echo of it."""
MIN_TOKENS = 16
"""A shorter run is never called recited: names and set phrases reach ten."""
USUAL = 0.9


@dataclass(frozen=True)
class Match:
    """A longest run within one answer."""

    length: int = 0
    start: int = 0
    """In the answer."""
    text: int = -1
    """Index of the text that holds it."""


@dataclass(frozen=True)
class Spans:
    """Longest runs, in tokens, of some texts."""

    texts: int
    median: float | None
    longest: int
    recited: int
    """Texts with a run of `Verbatim.threshold` tokens or more."""


@dataclass(frozen=True)
class Verbatim:
    trained: Spans
    """The model's answers to prompts that it was trained on."""
    unseen: Spans
    """Its answers to held-out prompts."""
    people: Spans
    """What people wrote in the held-out records."""
    threshold: int
    """Tokens in a row from which on an answer is called recited: `MIN_TOKENS`, or more than nine in ten of the people's
    texts have, if that is more."""
    record: str
    """Whose text the longest run of an answer is from; empty where there is none."""
    excerpt: str
    """That run.  A contributor's text: not to be published."""
    warns: bool
    words: str


def compare(trained: Sequence[Match], unseen: Sequence[Match], people: Sequence[Match]) -> Verbatim:
    """From the longest runs of answers to either kind of prompt, and of people's texts; quotes nothing yet."""
    lengths = sorted(match.length for match in people)
    usual = lengths[math.ceil(USUAL * len(lengths)) - 1] if lengths else 0
    threshold = max(MIN_TOKENS, usual + 1)
    ours, new, theirs = (_spans(matches, threshold) for matches in (trained, unseen, people))
    words = _words([*trained, *unseen], usual if lengths else None, threshold)
    return Verbatim(ours, new, theirs, threshold, "", "", ours.recited + new.recited > 0, words)


def quoted(verbatim: Verbatim, record: str, excerpt: str) -> Verbatim:
    return replace(verbatim, record=record, excerpt=excerpt)


def masked(answer: Sequence[int], prompt: Sequence[int]) -> list[int]:
    """The answer with -1 for every token of a run of `ECHO` that the prompt holds as well."""
    said = {tuple(prompt[i : i + ECHO]) for i in range(len(prompt) - ECHO + 1)}
    result = list(answer)
    for i in range(len(answer) - ECHO + 1):
        if tuple(answer[i : i + ECHO]) in said:
            result[i : i + ECHO] = [-1] * ECHO
    return result


def longest(answers: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> list[Match]:
    """For each answer its longest run of tokens, -1 excepted, that stands in one of the texts; exact.

    Runs of length 1, 2, 3, ... are numbered in turn, and only places where the last length still matched are looked at
    again: about one pass over the texts (3 s for five million tokens), and some 60 bytes of memory for each token.
    """
    found = [Match() for _ in answers]
    (ours, owner), (theirs, text) = _joined(answers), _joined(texts)
    base = int(max(ours.max(initial=0), theirs.max(initial=0))) + 1
    here, there = np.flatnonzero(ours >= 0), np.flatnonzero(theirs >= 0)
    mine, other = ours[here], theirs[there]
    for length in range(1, len(ours) + 1):
        runs = np.unique(mine)
        slot = np.minimum(np.searchsorted(runs, other), max(len(runs) - 1, 0))
        hit = runs[slot] == other if len(runs) else np.zeros(len(other), bool)
        there, slot = there[hit], slot[hit]
        first = np.full(len(runs), -1)
        first[slot[::-1]] = there[::-1]
        where = first[np.searchsorted(runs, mine)]
        kept = where >= 0
        here, where, run = here[kept], where[kept], np.searchsorted(runs, mine[kept])
        if not len(here):
            break
        for answer, i in zip(*np.unique(owner[here], return_index=True), strict=True):
            start = int(here[i] - np.searchsorted(owner, answer))
            found[answer] = Match(length, start, int(text[where[i]]))
        here, mine = _longer(ours, here, run, length, base)
        there, other = _longer(theirs, there, slot, length, base)
    return found


def _longer(tokens: Ints, places: Ints, runs: Ints, length: int, base: int) -> tuple[Ints, Ints]:
    """Places whose run goes on by a token, and names for the longer runs."""
    following = tokens[places + length]
    goes_on = following >= 0
    return places[goes_on], runs[goes_on] * base + following[goes_on]


def _joined(sequences: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """All tokens in one row with -1 after each sequence, and which sequence each belongs to."""
    lengths = [len(sequence) + 1 for sequence in sequences]
    tokens = np.fromiter((t for s in sequences for t in (*s, -1)), np.int64, sum(lengths))
    return tokens, np.repeat(np.arange(len(sequences)), lengths)


def _spans(matches: Sequence[Match], threshold: int) -> Spans:
    lengths = [match.length for match in matches]
    return Spans(
        texts=len(lengths),
        median=float(median(lengths)) if lengths else None,
        longest=max(lengths, default=0),
        recited=sum(length >= threshold for length in lengths),
    )


def _words(answers: Sequence[Match], usual: int | None, threshold: int) -> str:
    if not answers:
        return "Whether the model recites was not measured."
    beside = "there is no held-out text to compare with"
    if usual is not None:
        beside = f"nine in ten texts that people wrote in held-out records share at most {usual}"
    longest = max(match.length for match in answers)
    recited = sum(match.length >= threshold for match in answers)
    if recited:
        return (
            f"The model recites: {recited} of {len(answers)} answers hold {threshold} or more tokens of a training "
            f"text in a row, the longest {longest} ({beside})."
        )
    return (
        f"The model does not recite: {len(answers)} answers hold at most {longest} tokens of a training text in a row "
        f"({beside}; from {threshold} on it is called reciting)."
    )
