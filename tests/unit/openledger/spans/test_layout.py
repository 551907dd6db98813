from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from openledger import canonical
from openledger.spans.build import Document, build
from openledger.spans.layout import MOST, WIDE, Header, SpanIndexError, parse
from tests.span_oracle import SALT

FILE = build([Document(0, 3, [5, 6, 7]), Document(1, 4, [5, 6])], owners=2, salt=SALT)


def changed(**fields: Any) -> bytes:
    """The file with another header, written as the format asks."""
    length = struct.unpack("<Q", FILE[:8])[0]
    document = json.loads(FILE[8 : 8 + length])
    header = json.loads(document["__metadata__"]["header"]) | fields
    document["__metadata__"]["header"] = canonical.dumps(header).decode()
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + FILE[8 + length :]


def test_the_header_says_what_is_in_the_file() -> None:
    header, begin = parse(memoryview(FILE))
    assert header == Header(SALT.hex(), owners=2, documents=2, tokens=5, vocabulary=3)
    assert len(FILE) == begin + header.offsets()["text"][1]
    assert all(first % 4 == 0 for first, _ in header.offsets().values())
    assert begin % 8 == 0


def test_the_file_is_a_safetensors_file() -> None:
    from safetensors.numpy import load

    tensors = load(FILE)
    assert tensors["vocabulary"].tolist() == [5, 6, 7]
    assert tensors["text"].tolist() == [[0, s] for s in (1, 2, 3, 0, 1, 2, 0, 0, 0, 0, 0)]


def test_tokens_take_two_bytes_as_long_as_they_fit() -> None:
    assert Header(SALT.hex(), 1, 1, WIDE, WIDE).width == 2
    assert Header(SALT.hex(), 1, 1, WIDE + 1, WIDE + 1).width == 3


@pytest.mark.parametrize(
    ("fields", "reason"),
    (
        ({"version": "openledger.spans.v2"}, "unknown version"),
        ({"version": ["x" * 1000]}, "unknown version"),
        ({"salt": "00"}, "32 bytes"),
        ({"salt": SALT.hex().upper()}, "lower-case"),
        ({"salt": "zz" * 32}, "hex"),
        ({"salt": 7}, "hex"),
        ({"owners": -1}, "owners must be"),
        ({"owners": True}, "owners must be"),
        ({"documents": "2"}, "documents must be"),
        ({"tokens": 2**40}, "tokens must be"),
        ({"tokens": MOST}, "make several"),
        ({"tokens": 6}, "canonical form"),
        ({"vocabulary": 4}, "canonical form"),
        ({"more": 1}, "not a span index"),
    ),
)
def test_other_headers_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpanIndexError, match=reason):
        parse(memoryview(changed(**fields)))


@pytest.mark.parametrize("length", (0, 7, 8, 100, -1))
def test_cut_files_are_refused(length: int) -> None:
    with pytest.raises(SpanIndexError):
        parse(memoryview(FILE[:length]))


def test_appended_bytes_are_refused() -> None:
    with pytest.raises(SpanIndexError, match="canonical form"):
        parse(memoryview(FILE + b"\0"))


@pytest.mark.parametrize("text", (b"[]", b"{}", b"[" * 2000, b"\xff" * 40, b'{"__metadata__":{"header":"7"}}'))
def test_what_is_not_a_header_is_refused(text: bytes) -> None:
    with pytest.raises(SpanIndexError, match="not a span index"):
        parse(memoryview(struct.pack("<Q", len(text)) + text + bytes(500)))
