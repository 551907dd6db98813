"""Whose a text is that reads like another: the first one's.

Two texts are alike where enough of their words, and of their pairs of neighbouring words, are in both: so are a text
and its copy in which up to three of ten words are others.  A text that is like an earlier one came from it, and from
wherever that came from.  A text of few words is like no other: too many say the same without knowing of each other.

A later text never changes whose an earlier one is, so nobody can join two texts that are not alike by a third that is
like both: clusters of plain likeness would let a late bridge carry off a text's credit.

Candidates are found by MinHash in bands (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, ch. 3);
decided on are the sets themselves.  Integers only, and no library's random numbers: whoever has the texts finds the
same.  Case, punctuation, underscores, white space, compatibility forms and what shows nothing make no difference.
Letters of other scripts that look alike, translations and real paraphrases do: those are not found.  Knows no
contributors.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openledger.visible import VERSION, visible

WORDS, PAIRS = 45, 20
"""Of all that are in either text, the percentage that is in both where they are alike."""
FEWEST_WORDS = 8
"""That a text has which can be like another."""
BANDS, ROWS = 96, 2
"""Texts that share 20 % of their pairs meet in a band with a probability of 0.98, those that share a third: 0.99999."""

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # written without blanks: each is a word
_WORD = re.compile(f"[{_IDEOGRAPHS}]|(?:(?![{_IDEOGRAPHS}])[^\\W_])+")
_WORD_1 = re.compile(f"[{_IDEOGRAPHS}]|(?:(?![{_IDEOGRAPHS}])\\w)+")

Hashes = npt.NDArray[np.uint64]


def first(texts: Iterable[str], version: int = VERSION) -> list[int]:
    """For each text the place of the text that it came from in the end; its own where it is like no earlier one.

    version: of `words`.
    """
    seen = _Seen(version)
    found: list[int] = []
    for place, text in enumerate(texts):
        like = seen.first_like(text)
        found.append(place if like is None else found[like])
    return found


def words(text: str, version: int = VERSION) -> list[str]:
    """The words that are compared, in order.  version: of `visible`; by the first an underscore joins words."""
    if version == 1:
        return _WORD_1.findall(visible(unicodedata.normalize("NFKC", text).casefold(), 1))
    return _WORD.findall(unicodedata.normalize("NFKC", visible(text, version)).casefold())


class _Text(NamedTuple):
    """What of a text is compared, as 64-bit numbers; nothing of one that is too short."""

    words: frozenset[int]
    pairs: frozenset[int]

    @classmethod
    def of(cls, words: Sequence[str]) -> _Text:
        if len(words) < FEWEST_WORDS:
            return cls(frozenset(), frozenset())
        return cls(numbers(words), numbers(map("\0".join, pairwise(words))))

    def is_like(self, other: _Text) -> bool:
        return _share(self.words, other.words, WORDS) and _share(self.pairs, other.pairs, PAIRS)


def numbers(texts: Iterable[str]) -> frozenset[int]:
    """Of each text its number of 64 bits."""
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return frozenset(int.from_bytes(digest, "little") for digest in digests)


def _share(one: frozenset[int], other: frozenset[int], percent: int) -> bool:
    both = len(one & other)
    return both > 0 and 100 * both >= percent * (len(one) + len(other) - both)


class _Seen:
    """Texts in their order, and where those like another may be."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._texts: list[_Text] = []
        self._bands: defaultdict[int, list[int]] = defaultdict(list)

    def first_like(self, text: str) -> int | None:
        """The place of the first earlier text that is like this one, which is added."""
        new = _Text.of(words(text, self._version))
        keys = bands(new.pairs) if new.pairs else []
        met = sorted({other for key in keys for other in self._bands.get(key, ())})
        for key in keys:
            self._bands[key].append(len(self._texts))
        self._texts.append(new)
        return next((other for other in met if new.is_like(self._texts[other])), None)


def bands(members: Collection[int], count: int = BANDS, rows: int = ROWS) -> list[int]:
    """One number a band, equal in two sets with a probability of (their share in common) ** `rows`.

    `members` are at least one, below 2**64; `count` * `rows` is at most BANDS * ROWS.
    """
    steps = _STEPS[: count * rows, None]
    minima = _mix(np.fromiter(members, np.uint64, len(members))[None] + steps).min(axis=1).reshape(count, rows)
    joined = minima[:, 0]
    with np.errstate(over="ignore"):
        for row in range(1, rows):
            joined = _mix(joined * np.uint64(3) + minima[:, row] + _STEPS[:count])
    found: list[int] = joined.tolist()
    return found


def _mix(numbers: Hashes) -> Hashes:
    """Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators (2014): the finaliser of SplitMix64."""
    with np.errstate(over="ignore"):
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


_STEPS: Hashes = np.arange(1, BANDS * ROWS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
"""What makes one hash function another: SplitMix64's increment, so many times."""
