from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.spans.build import Document, build
from openledger.spans.index import SpanIndex, from_bytes
from openledger.spans.layout import WIDE, SpanIndexError
from tests.span_oracle import SALT

TEXTS = st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=6)


def documents(texts: list[list[int]]) -> list[Document]:
    return [Document(0, number, text) for number, text in enumerate(texts)]


@given(TEXTS)
def test_suffixes_are_those_that_sorting_them_one_by_one_gives(texts: list[list[int]]) -> None:
    index = SpanIndex(build(documents(texts), owners=1, salt=SALT))
    text = from_bytes(index.text).tolist()
    written = [place for place, symbol in enumerate(text) if symbol]
    assert list(index.suffixes) == sorted(written, key=lambda place: text[place:])
    index.check()


@given(TEXTS)
def test_the_text_can_be_read_back(texts: list[list[int]]) -> None:
    index = SpanIndex(build(documents(texts), owners=1, salt=SALT))
    text = from_bytes(index.text)
    bounds = zip(index.starts[:-1].tolist(), index.starts[1:].tolist(), strict=True)
    assert [index.vocabulary[text[start : end - 1] - 1].tolist() for start, end in bounds] == texts


def test_the_same_content_gives_the_same_bytes_and_each_part_of_it_counts() -> None:
    given = [Document(0, 1, [7, 8, 9]), Document(1, 2, [7, 8])]
    file = build(given, owners=2, salt=SALT)
    assert build((Document(*d) for d in given), owners=2, salt=SALT) == file
    assert build([d._replace(tokens=np.array(d.tokens, dtype=np.uint16)) for d in given], owners=2, salt=SALT) == file
    others = [
        build(given, owners=3, salt=SALT),
        build(given, owners=2, salt=bytes(32)),
        build([given[0]], owners=2, salt=SALT),
        *(build([given[0], given[1]._replace(**change)], owners=2, salt=SALT) for change in (
            {"owner": 0}, {"record": 3}, {"tokens": [7, 9]},
        )),
    ]  # fmt: skip
    assert len({hashlib.sha256(each).digest() for each in [file, *others]}) == 7


def test_more_than_65534_different_tokens_take_three_bytes() -> None:
    tokens = list(range(1000, 1000 + WIDE + 1))
    index = SpanIndex(build([Document(0, 0, tokens)], owners=1, salt=SALT))
    assert index.width == 3
    assert list(index.suffixes) == list(range(len(tokens)))
    assert index.vocabulary.tolist() == tokens
    index.check()


def test_a_token_costs_six_bytes_and_a_document_fourteen() -> None:
    one, two = (
        SpanIndex(build([Document(0, 0, [0, 1] * 600)] * count, owners=1, salt=SALT)).header for count in (1, 2)
    )
    assert two.offsets()["text"][1] - one.offsets()["text"][1] == 6 * 1200 + 14


@pytest.mark.parametrize("tokens", ([-1], [2**32], [2**70], [1.5], ["a"], [[1]], [None], [2**63, -1]))
def test_what_is_no_token_is_refused(tokens: Any) -> None:
    with pytest.raises(SpanIndexError, match="record 5: tokens are whole numbers"):
        build([Document(0, 5, tokens)], owners=1, salt=SALT)


@pytest.mark.parametrize(
    ("document", "reason"),
    (
        (Document(2, 0, [1]), "owner 2"),
        (Document(-1, 0, [1]), "owner -1"),
        (Document(True, 0, [1]), "owner True"),
        (Document(0, 2**32, [1]), "record"),
        (Document(0, 0.5, [1]), "record"),  # type: ignore[arg-type]
    ),
)
def test_numbers_that_are_none_are_refused(document: Document, reason: str) -> None:
    with pytest.raises(SpanIndexError, match=reason):
        build([document], owners=2, salt=SALT)


def test_records_out_of_order_and_short_salts_are_refused() -> None:
    with pytest.raises(SpanIndexError, match="order of their records"):
        build([Document(0, 2, [1]), Document(0, 1, [1])], owners=1, salt=SALT)
    with pytest.raises(SpanIndexError, match="32 bytes"):
        build([], owners=1, salt=b"short")
