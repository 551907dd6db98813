"""From documents to the file of their span index.

Suffixes are sorted by libdivsufsort (Yuta Mori, MIT), through pydivsufsort, which only this module imports.  Draws no
randomness: the salt is its caller's.  The same documents in the same order, owners and salt give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openledger.spans.index import U32, to_bytes
from openledger.spans.layout import MOST, PADDING, Header, SpanIndexError

_AT_ONCE = 2**22


class Document(NamedTuple):
    """What a model was trained on of one record.  No span reaches from one document into another."""

    owner: int
    """The contributor's number, counted from 0: the row of the contribution index."""
    record: int
    """The record's number: its leaf in the snapshot, or its place in the training.  The lowest is the earliest."""
    tokens: Sequence[int] | npt.NDArray[np.integer]


def build(documents: Iterable[Document], *, owners: int, salt: bytes) -> bytes:
    """The file of an index of these documents, in the order of their records.  The salt is 32 secret random bytes.

    Needs about 13 times the memory of the text, which is two bytes a token, while it sorts.
    Raises SpanIndexError for tokens and numbers that are none, for records out of order, and for too many tokens.
    """
    given = list(documents)
    tokens = [_tokens(document) for document in given]
    lengths = np.array([len(each) for each in tokens], dtype=np.int64)
    total = int(lengths.sum())
    flat: U32 = np.concatenate(tokens) if total else np.empty(0, dtype=np.uint32)
    del tokens
    vocabulary, counts = np.unique(flat, return_counts=True)
    header = Header(salt.hex(), owners, len(given), total, len(vocabulary))
    header.validate()
    starts = np.concatenate(([0], np.cumsum(lengths + 1)))
    text = _text(np.searchsorted(vocabulary, flat) + 1, starts, header)
    tables = {
        "suffixes": _suffixes(text, header),
        "starts": starts,
        "owners": _numbers([document.owner for document in given], "owner", owners),
        "records": _numbers([document.record for document in given], "record", MOST + 1),
        "vocabulary": vocabulary,
        "counts": counts,
    }
    if (np.diff(tables["records"]) < 0).any():
        raise SpanIndexError("documents must come in the order of their records")
    return b"".join([header.prefix(), *(table.astype("<u4").tobytes() for table in tables.values()), text.tobytes()])


def _tokens(document: Document) -> U32:
    tokens = np.asarray(document.tokens)
    if not tokens.size:
        return np.empty(0, dtype=np.uint32)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or tokens.min() < 0 or tokens.max() > MOST:
        raise SpanIndexError(f"record {document.record}: tokens are whole numbers from 0 to {MOST}")
    return tokens.astype(np.uint32)


def _numbers(numbers: list[int], what: str, end: int) -> npt.NDArray[np.int64]:
    for number in numbers:
        if type(number) is not int or not 0 <= number < end:
            raise SpanIndexError(f"{what} {number!r:.80} is not a whole number from 0 to {end - 1}")
    return np.array(numbers, dtype=np.int64)


def _text(symbols: npt.NDArray[np.integer], starts: npt.NDArray[np.int64], header: Header) -> npt.NDArray[np.uint8]:
    """u8 [length, width]: the documents' symbols, a zero behind each, and padding."""
    written = np.ones(header.length, dtype=bool)
    written[starts[1:] - 1] = False
    written[header.length - PADDING :] = False
    text = np.zeros((header.length, header.width), dtype=np.uint8)
    text[written] = to_bytes(symbols, header.width)
    return text


def _suffixes(text: npt.NDArray[np.uint8], header: Header) -> U32:
    """u32 [tokens]: where tokens stand, sorted by the bytes from there to the text's end.

    All suffixes of the bytes are sorted; those that begin within a token are left out, and those that begin with a
    zero, which come first.
    """
    import pydivsufsort

    width, found = header.width, []
    if header.tokens:
        order = pydivsufsort.divsufsort(text.reshape(-1))
        for begin in range(0, len(order), _AT_ONCE):
            places = order[begin : begin + _AT_ONCE]
            found.append((places[places % width == 0] // width).astype(np.uint32))
    every: U32 = np.concatenate(found) if found else np.empty(0, dtype=np.uint32)
    return every[len(every) - header.tokens :]
