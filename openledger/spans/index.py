"""A span index in memory, or mapped from its file: the text, its suffix array, and who wrote what.

What is opened is checked as far as can be done without reading all of it: form, sizes, documents, vocabulary.  A text
or suffix array that is not what it should be gives wrong spans or an error, and never reads beyond the file; `check`
reads everything.  Whoever takes a file from others compares its SHA-256 with the manifest's.  For little-endian
machines.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openledger.spans.layout import PADDING, SpanIndexError, parse

U32 = npt.NDArray[np.uint32]
KEY_BYTES = 8


class SpanIndex:
    """The index of a training text.  Documents are numbered in the order in which they were given.

    starts: u32 [D + 1], where each document's tokens begin in the text; owners, records: u32 [D], numbers that are the
    builder's; vocabulary: u32 [V], the token ids that occur, ascending; counts: u32 [V], how often each does.
    """

    def __init__(self, data: bytes | mmap.mmap) -> None:
        """Raises SpanIndexError for anything but a span index's whole file."""
        view = memoryview(data)
        self.header, begin = parse(view)
        self.width = self.header.width
        self._data = data
        at = {name: (begin + first, begin + last) for name, (first, last) in self.header.offsets().items()}
        self._text, self._text_end = at["text"]
        self.suffixes = view[slice(*at["suffixes"])].cast("I")
        self.starts, self.owners, self.records, self.vocabulary, self.counts = (
            np.frombuffer(view[slice(*at[name])], dtype="<u4")
            for name in ("starts", "owners", "records", "vocabulary", "counts")
        )
        self._check_tables()

    @classmethod
    def open(cls, path: Path) -> SpanIndex:
        """Map a file into memory.  Raises SpanIndexError, or OSError where it cannot be read."""
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise SpanIndexError("the file is empty")
            return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _check_tables(self) -> None:
        header, starts, counts = self.header, self.starts.astype(np.int64), self.counts.astype(np.int64)
        checks = (
            (starts[0] == 0 and starts[-1] == header.tokens + header.documents, "documents do not fill the text"),
            ((np.diff(starts) > 0).all(), "documents are not in order"),
            (not len(self.owners) or self.owners.max() < header.owners, "a document belongs to nobody"),
            ((np.diff(self.records.astype(np.int64)) >= 0).all(), "records are not in order"),
            ((np.diff(self.vocabulary.astype(np.int64)) > 0).all(), "the vocabulary is not in order"),
            ((counts > 0).all() and counts.sum() == header.tokens, "the counts are not the text's"),
        )
        for holds, reason in checks:
            if not holds:
                raise SpanIndexError(f"the span index is damaged: {reason}")

    @cached_property
    def text(self) -> npt.NDArray[np.uint8]:
        """The text's bytes, u8 [length, width]."""
        return np.frombuffer(self._data, np.uint8, offset=self._text).reshape(-1, self.width)

    @cached_property
    def keys(self) -> npt.NDArray[np.uint64]:
        """The eight bytes from each token on, as a number that sorts as they do: big-endian u64 [tokens and ends]."""
        size = (self._text_end - self._text - KEY_BYTES) // self.width + 1
        return np.ndarray((size,), ">u8", self._data, self._text, (self.width,))

    @cached_property
    def ranks(self) -> npt.NDArray[np.int64]:
        """Where the suffixes that begin with each symbol begin and end: those of ``s`` are ``[s - 1]`` to ``[s]``."""
        return np.concatenate(([0], np.cumsum(self.counts, dtype=np.int64)))

    @cached_property
    def millibits(self) -> npt.NDArray[np.int64]:
        """How surprising each symbol is by how often it occurs in the text: -log2 of its share, in 1/1000 bit [V + 2].

        Of 0, an end, and of V + 1, a token that does not occur, it is 0: no span holds them.
        """
        shares = self.counts / max(self.header.tokens, 1)
        return np.concatenate(([0], np.rint(-1000 * np.log2(shares)).astype(np.int64), [0]))

    def symbols(self, ids: Sequence[int]) -> npt.NDArray[np.int64]:
        """Token ids as the text writes them; an id that does not occur in it, whatever it is, becomes V + 1."""
        wanted = np.array([token if 0 <= token < 2**32 else -1 for token in ids], dtype=np.int64)
        if not len(self.vocabulary):
            return np.ones(len(wanted), dtype=np.int64)
        place = np.searchsorted(self.vocabulary, np.maximum(wanted, 0))
        place = np.minimum(place, len(self.vocabulary) - 1)
        return np.where(self.vocabulary[place] == wanted, place + 1, len(self.vocabulary) + 1)

    def piece(self, place: int, size: int) -> bytes:
        """So many bytes of the text from a place in it on; fewer at its end."""
        begin = self._text + place * self.width
        return self._data[begin : begin + size]

    def documents_at(self, places: U32) -> npt.NDArray[np.int64]:
        """The numbers of the documents in which these places of the text lie."""
        return np.minimum(np.searchsorted(self.starts, places, side="right"), self.header.documents) - 1

    def check(self) -> None:
        """Read everything; raise SpanIndexError unless text and suffix array are what they should be.

        Takes about 20 bytes of memory a token.
        """
        text = from_bytes(self.text)
        places = np.array(self.suffixes, dtype=np.int64)
        ends = np.concatenate((self.starts[1:].astype(np.int64) - 1, np.arange(len(text) - PADDING, len(text))))
        written = np.bincount(text, minlength=self.header.vocabulary + 1)
        if text[ends].any() or not np.array_equal(written[1:], self.counts):
            raise SpanIndexError("the span index is damaged: the text is not that of its documents")
        # Suffixes are in order when neighbours differ in their first symbol, or in the ranks of what follows it.
        rank = np.zeros(len(text), dtype=np.int64)
        if len(places) and places.max() < len(text):
            rank[places] = np.arange(1, len(places) + 1)
        if np.count_nonzero(rank) != len(places) or rank[text == 0].any():
            raise SpanIndexError("the span index is damaged: the suffix array does not list every token once")
        if not _sorted(text, places, rank):
            raise SpanIndexError("the span index is damaged: the suffix array is not in order")


def _sorted(text: npt.NDArray[np.int64], places: npt.NDArray[np.int64], rank: npt.NDArray[np.int64]) -> bool:
    """Whether suffixes are in order up to the end of their documents; what comes after it is never searched for."""
    first, following = text[places], rank[places + 1]
    tied = first[1:] == first[:-1]
    ahead = following[1:] > following[:-1]
    both_end = (following[1:] == 0) & (following[:-1] == 0)
    return bool(((first[1:] > first[:-1]) | (tied & (ahead | both_end))).all())


def to_bytes(symbols: npt.NDArray[np.integer], width: int) -> npt.NDArray[np.uint8]:
    """Symbols as the text writes them, u8 [n, width]."""
    four = symbols.astype(">u4").view(np.uint8).reshape(-1, 4)
    return np.ascontiguousarray(four[:, 4 - width :])


def from_bytes(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The symbols [n] that u8 [n, width] writes."""
    symbols = np.zeros(len(text), dtype=np.int64)
    for column in text.T:
        symbols = symbols << 8 | column
    return symbols
