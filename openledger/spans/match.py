"""Where an answer's tokens stand in the text: its maximal spans, and every place of a span.

A span is maximal when it occurs in the text and neither one token more before nor one more behind it does (OLMoTrace,
arXiv:2504.07096).  As there, they are found in a suffix array: what begins at a token of the answer occurs as far as it
agrees with one of the two suffixes between which it would be sorted.  Knows no prompt, no owners, no rarity.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np
import numpy.typing as npt

from openledger.spans.index import KEY_BYTES, U32, SpanIndex, to_bytes
from openledger.spans.layout import SpanIndexError

Ints = npt.NDArray[np.int64]


class Matches:
    """The spans of one answer's symbols [n] that are ``least`` tokens long or longer."""

    def __init__(self, index: SpanIndex, symbols: Ints, least: int) -> None:
        self._suffixes, self._piece = index.suffixes, index.piece
        self._least, self._width = least, index.width
        self._bytes = to_bytes(symbols, index.width).tobytes()
        self._window = min(least, KEY_BYTES // index.width)
        self._ranges = _ranges(index, symbols, self._window)

    def maximal(self) -> list[tuple[int, int]]:
        """First token and end of each maximal span, in order; both ascend from span to span."""
        first, last = self._ranges
        there = last > first
        shift = self._least - self._window
        found, resume = [], 0
        # A long enough span has its first and its last window in the text.
        for begin in np.flatnonzero(there[: len(there) - shift] & there[shift:]).tolist():
            if begin < resume:
                continue
            end = begin + self._longest(begin)
            if end - begin >= self._least:
                found.append((begin, end))
            if end == len(there) + self._window - 1:
                break
            # What begins later and reaches further holds the token at `end`.  Where it begins, at the earliest, is
            # found by halving: if from one token on the text agrees as far as there, so it does from the next on.
            later = range(begin + 1, end + 2 - self._window)
            resume = later.start + bisect_left(later, True, key=lambda start: self._occurs(start, end + 1))
        return found

    def places(self, begin: int, end: int, most: int) -> U32 | None:
        """Every place in the text of a span of the answer that is ``least`` tokens long or longer, ascending.

        None when there are more than ``most``.
        """
        key = self._bytes[begin * self._width : end * self._width]
        low, high = int(self._ranges[0][begin]), int(self._ranges[1][begin])
        low = self._rank(key, low, high)
        high = bisect_right(self._suffixes, key, low, high, key=lambda place: self._piece(place, len(key)))
        if high - low > most:
            return None
        return np.sort(np.asarray(self._suffixes[low:high], dtype=np.uint32))

    def _rank(self, key: bytes, low: int, high: int) -> int:
        """Before which of these suffixes a key would be sorted."""
        return bisect_left(self._suffixes, key, low, high, key=lambda place: self._piece(place, len(key)))

    def _longest(self, begin: int) -> int:
        """How many tokens from ``begin`` on stand in the text; their window does."""
        key = self._bytes[begin * self._width :]
        low, high = int(self._ranges[0][begin]), int(self._ranges[1][begin])
        rank = self._rank(key, low, high)
        beside = self._suffixes[max(rank - 1, low) : min(rank + 1, high)]
        return max(_common(key, self._piece(place, len(key))) for place in beside) // self._width

    def _occurs(self, begin: int, end: int) -> bool:
        """Whether these tokens of the answer, a window or more, stand in the text."""
        key = self._bytes[begin * self._width : end * self._width]
        low, high = int(self._ranges[0][begin]), int(self._ranges[1][begin])
        rank = self._rank(key, low, high)
        return rank < high and self._piece(self._suffixes[rank], len(key)) == key


def _common(one: bytes, other: bytes) -> int:
    """Bytes that both begin with."""
    length = min(len(one), len(other))
    differing = int.from_bytes(one[:length], "big") ^ int.from_bytes(other[:length], "big")
    return length - (differing.bit_length() + 7) // 8


def _ranges(index: SpanIndex, symbols: Ints, window: int) -> tuple[Ints, Ints]:
    """Of every window of so many symbols [n - window + 1], the first suffix that begins with it, and the end of those.

    All are searched for at once, by halving: from the suffixes that begin with the window's first symbol, whose bounds
    follow from the counts.  Eight bytes of text are compared as one number.
    """
    count = max(len(symbols) - window + 1, 0)
    shift = np.uint64(8 * (KEY_BYTES - window * index.width))
    wanted = np.zeros(count, dtype=np.uint64)
    for k in range(window):
        wanted = wanted << np.uint64(8 * index.width) | symbols[k : count + k].astype(np.uint64)
    first = np.minimum(symbols[:count], len(index.counts) + 1)
    bounds = np.append(index.ranks, index.header.tokens)
    low, high = np.tile(bounds[first - 1], 2), np.tile(bounds[first], 2)
    wanted = np.concatenate((wanted, wanted + np.uint64(1)))  # a window ends where the next greater would begin
    suffixes = np.asarray(index.suffixes)
    while (open_ := low < high).any():
        middle = low + high >> 1
        places = suffixes[np.where(open_, middle, 0)]
        if places.max() >= len(index.keys):
            raise SpanIndexError("the span index is damaged: its suffix array points behind the text")
        less = (index.keys[places] >> shift < wanted) & open_
        low = np.where(less, middle + 1, low)
        high = np.where(open_ & ~less, middle, high)
    return low[:count], low[count:]
