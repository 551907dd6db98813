from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from openledger.spans.build import Document, build
from openledger.spans.evidence import Rule, find
from openledger.spans.index import SpanIndex
from openledger.spans.layout import SpanIndexError
from tests.span_oracle import SALT

DOCUMENTS = [
    Document(1, 3, [10, 11, 12, 13, 10, 11, 12, 14]),
    Document(0, 3, []),
    Document(0, 9, [11, 12, 13, 10, 70_000]),
]
FILE = build(DOCUMENTS, owners=2, salt=SALT)
ANSWER = [10, 11, 12, 13, 10, 70_000, 10, 11, 12, 14]
EVERYTHING = Rule(min_tokens=2, prompt_run=1, margin_bits=0)


def begin(tensor: str) -> int:
    header = SpanIndex(FILE).header
    return len(header.prefix()) + header.offsets()[tensor][0]


def with_number(tensor: str, place: int, number: int) -> bytes:
    at = begin(tensor) + 4 * place
    return FILE[:at] + number.to_bytes(4, "little") + FILE[at + 4 :]


def test_a_mapped_file_is_the_one_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "spans"
    path.write_bytes(FILE)
    mapped = SpanIndex.open(path)
    mapped.check()
    assert find(mapped, [], ANSWER, EVERYTHING) == find(SpanIndex(FILE), [], ANSWER, EVERYTHING) != []


def test_an_empty_file_is_refused_and_a_missing_one_is_missing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(SpanIndexError, match="empty"):
        SpanIndex.open(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        SpanIndex.open(tmp_path / "missing")


def test_ids_become_symbols_and_unknown_ones_become_one_that_occurs_nowhere() -> None:
    ids = [10, 70_000, 9, 15, 70_001, -1, -(2**80), 2**32, 2**80, 0]
    assert SpanIndex(FILE).symbols(ids).tolist() == [1, 6, *[7] * 8]
    assert SpanIndex(build([], owners=0, salt=SALT)).symbols([0, 1]).tolist() == [1, 1]


def test_documents_are_found_by_place() -> None:
    index = SpanIndex(FILE)
    assert index.documents_at(np.array([0, 8, 9, 10, 15, 2**32 - 1], dtype=np.uint32)).tolist() == [0, 0, 1, 2, 2, 2]


def test_bits_are_by_how_often_a_token_occurs() -> None:
    millibits = SpanIndex(FILE).millibits
    assert millibits[0] == millibits[-1] == 0
    assert millibits[1] == round(-1000 * math.log2(3 / 13))


@pytest.mark.parametrize(
    ("tensor", "place", "number", "reason"),
    (
        ("starts", 0, 1, "fill the text"),
        ("starts", 3, 15, "fill the text"),
        ("starts", 1, 11, "not in order"),
        ("owners", 0, 2, "nobody"),
        ("records", 0, 4, "records are not in order"),
        ("vocabulary", 0, 11, "vocabulary"),
        ("counts", 0, 4, "counts"),
        ("counts", 0, 0, "counts"),
    ),
)
def test_damaged_tables_are_refused(tensor: str, place: int, number: int, reason: str) -> None:
    with pytest.raises(SpanIndexError, match=reason):
        SpanIndex(with_number(tensor, place, number))


def test_every_changed_byte_of_text_or_suffixes_is_found_by_checking() -> None:
    first, last = begin("text"), len(FILE)
    for at in [*range(begin("suffixes"), begin("starts")), *range(first, last)]:
        for flip in (0x01, 0x02, 0x80):
            damaged = bytearray(FILE)
            damaged[at] ^= flip
            with pytest.raises(SpanIndexError, match="damaged"):
                SpanIndex(bytes(damaged)).check()


def test_any_changed_byte_gives_an_error_or_spans_of_the_answer_and_nothing_worse() -> None:
    for at in range(len(FILE)):
        for flip in (0x01, 0x10, 0xFF):
            damaged = bytearray(FILE)
            damaged[at] ^= flip
            try:
                spans = find(SpanIndex(bytes(damaged)), [], ANSWER, EVERYTHING)
            except SpanIndexError:
                continue
            assert all(0 <= span.start < span.end <= len(ANSWER) for span in spans)


def test_a_suffix_array_in_another_order_is_found_by_checking() -> None:
    at, size = begin("suffixes"), 4 * SpanIndex(FILE).header.tokens
    numbers = np.frombuffer(FILE[at : at + size], dtype="<u4")
    for swap in range(len(numbers) - 1):
        order = numbers.copy()
        order[[swap, swap + 1]] = order[[swap + 1, swap]]
        with pytest.raises(SpanIndexError, match="order"):
            SpanIndex(FILE[:at] + order.tobytes() + FILE[at + size :]).check()
