from __future__ import annotations

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from openledger import canonical


def test_key_order_and_spaces_do_not_matter():
    assert canonical.dumps({"b": 1, "a": [1.0, "é"]}) == '{"a":[1,"é"],"b":1}'.encode()
    assert canonical.digest({"b": 1, "a": 2}) == canonical.digest({"a": 2, "b": 1})


ASCII = st.text(st.characters(codec="ascii"))


@given(st.dictionaries(st.text(), st.text()) | st.dictionaries(ASCII, ASCII))
def test_texts_by_texts_are_written_as_anything_else(document):
    assert canonical.dumps(document) == rfc8785.dumps(document)


def test_numbers_that_json_readers_would_round_are_refused():
    with pytest.raises(rfc8785.IntegerDomainError):
        canonical.dumps({"amount": 2**53})


@pytest.mark.parametrize("data", (b'{"a": 1}', b'{"b":1,"a":1}', b'{"a":1.0}', b'{"a":1}\n', b'{"a":1,"a":1}'))
def test_another_spelling_of_a_document_is_refused(data):
    with pytest.raises(ValueError, match="canonical"):
        canonical.loads(data)


@pytest.mark.parametrize("data", (b"[" * 1_000_000, b'{"a":' * 1_000_000, b"[" * 70 + b"]" * 70, b'["x",' * 65))
def test_deep_nesting_is_an_error_and_not_the_end_of_the_process(data):
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        canonical.parse_json(data)


def test_brackets_in_texts_and_side_by_side_are_no_nesting():
    document = {"text": "[" * 1000 + '\\"' + "{" * 1000, "list": [[] for _ in range(1000)]}
    assert canonical.loads(canonical.dumps(document)) == document


@pytest.mark.parametrize(
    "data", (b'["' + b'\\"[' * 300_000, b'["' + b"[" * 100_000 + b"\\", b"\xff" + b"[" * 70, b"]" * 99)
)
def test_what_is_no_json_is_refused_quickly(data):
    with pytest.raises(ValueError, match=r"."):
        canonical.parse_json(data)
