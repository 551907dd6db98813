"""What is kept of a text so that texts that read like it are found, and whether two are alike, told from that alone.

Two records are alike where two texts of a snapshot would be (`openledger.clusters`): of the words in either 45 % are in
both, and of the pairs of neighbouring words 20 %.  Here also where 85 % of the words are in both, in whatever order.
Of two texts of few words only the same words make one like the other, in order; a text of one or two is like none.
Fields do not count, nor their order: a record is its texts, and no pair of words reaches from one text into the next.

A sketch is the smallest numbers of a text's words and of its pairs (Broder, On the resemblance and containment of
documents, 1997): all of them up to so many, and of a longer text a sample that any two texts share.  Its features are
MinHash bands of the words; two sketches meet in one if they are alike, nearly always (`BANDS`).

Knows no key: features are hashed again before they are kept (`sealing.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from openledger import clusters

WORDS_ALONE = 85
"""Of the words in either text, the percentage that is in both where they are alike in any order."""
FEWEST_WORDS = 3
"""That a text has which can be like another."""
PHRASE_WORDS = 6
"""Below these a text is like nothing but the same words: not like a longer one in which it stands."""
BANDS, ROWS = 40, 3
"""Texts that share 54 % of their words, as they do with three of ten exchanged, meet with a probability of 0.999; at
the threshold of 45 % of 0.978; texts that share 10 %, of 0.04.  So it is of texts of up to `SIZE` different words:
longer ones meet by their samples, which share less where one text is much longer than the other."""
SIZE = 256
"""Numbers of a sketch, of words and of pairs."""

_VERSION = b"\x01"
_NUMBER = np.dtype("<u4")
_ALL = 2**32


@dataclass(frozen=True)
class Sketch:
    """The smallest numbers of words and of pairs, at most `SIZE` of each; none of a text that is like no other.

    few: whether the text has too few words to be like another that has as few, and other words.
    """

    words: frozenset[int]
    pairs: frozenset[int]
    few: bool = False

    def is_like(self, other: Sketch) -> bool:
        """Whether the texts are alike: for texts of up to `SIZE` words exactly, else with a standard error of 3 %."""
        if self.few and other.few:
            return bool(self.words) and self == other
        words = _percent(self.words, other.words)
        both = words >= clusters.WORDS and _percent(self.pairs, other.pairs) >= clusters.PAIRS
        return both or words >= WORDS_ALONE

    @property
    def size(self) -> int:
        """How many numbers it has: to compare it takes as long as it and the other have."""
        return len(self.words) + len(self.pairs)

    def features(self) -> tuple[bytes, ...]:
        """By which it is found, 10 bytes each."""
        if not self.words:
            return ()
        # All bands of a single number say the same.
        bands = clusters.bands(self.words, BANDS if len(self.words) > 1 else 1, ROWS)
        return tuple(band.to_bytes(2, "big") + value.to_bytes(8, "big") for band, value in enumerate(bands))

    def to_bytes(self) -> bytes:
        """At most 2,052 bytes; of `from_bytes`."""
        head = _VERSION + bytes([self.few]) + len(self.words).to_bytes(2, "big")
        return head + np.array([*sorted(self.words), *sorted(self.pairs)], _NUMBER).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Raises `ValueError` for what a later version wrote."""
        if data[:1] != _VERSION:
            raise ValueError("this sketch was made by a later version of this service")
        count = int.from_bytes(data[2:4], "big")
        found = np.frombuffer(data[4:], _NUMBER).tolist()
        return cls(frozenset(found[:count]), frozenset(found[count:]), bool(data[1]))


@dataclass(frozen=True)
class Text:
    """What is to be known of a record's text to find it again.

    record: its id.  features: hashed with the vault's key, 64 bits each.  sketch: its bytes, a tenth of what a `Sketch`
    takes in memory.  box: the sketch, sealed.
    """

    record: str
    features: tuple[int, ...]
    sketch: bytes
    box: bytes

    @property
    def size(self) -> int:
        """How many numbers its sketch has, and one more."""
        return len(self.sketch) // _NUMBER.itemsize


def sketch(fields: Mapping[str, str]) -> Sketch:
    """Of a record's texts."""
    texts = sorted(filter(None, map(clusters.words, fields.values())))
    words = list(chain.from_iterable(texts))
    few = len(words) < clusters.FEWEST_WORDS
    if len(words) < FEWEST_WORDS:
        return Sketch(frozenset(), frozenset(), few)
    if len(words) < PHRASE_WORDS:
        return Sketch(_least(["\0".join(words)]), frozenset(), few)
    return Sketch(_least(words), _least("\0".join(pair) for text in texts for pair in pairwise(text)), few)


def _least(texts: Iterable[str]) -> frozenset[int]:
    return frozenset(sorted({number >> 32 for number in clusters.numbers(texts)})[:SIZE])


def _percent(one: frozenset[int], other: frozenset[int]) -> float:
    """What is in both, of what is in either: as far up as both are known."""
    limit = min(_known(one), _known(other))
    if limit < _ALL:
        one, other = (frozenset(number for number in numbers if number <= limit) for numbers in (one, other))
    both = len(one & other)
    return 100 * both / (len(one) + len(other) - both) if both else 0.0


def _known(numbers: Collection[int]) -> int:
    """Up to where these are all that there are."""
    return max(numbers) if len(numbers) == SIZE else _ALL
