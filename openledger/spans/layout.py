"""The file of a span index: what is in it, in which order, and nothing that is not exactly so.

A safetensors file whose metadata key ``header`` is canonical JSON: the sizes below, and a salt.  The text is the
documents' tokens, each written as the number of its place in the sorted vocabulary, counted from 1, in ``width`` bytes
with the most significant first: so the order of bytes is the order of tokens.  0 ends every document, and ``PADDING``
more zeros end the text.  The suffix array lists where in the text every token stands, sorted by what follows there.
A token costs 2 + 4 bytes where no more than 65,534 different ones occur, else 3 + 4; a document 14 or 15 more.

The salt makes the file's SHA-256, which a manifest names, say nothing of texts that could be guessed; the file itself
holds the texts and is private.  Knows no tokenizer, and reads bytes that it is given.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

from openledger import canonical

VERSION = "openledger.spans.v1"
SALT_BYTES = 32
PADDING = 4
"""Zeros behind the text, so that eight bytes can be read from every token on."""
WIDE = 2**16 - 2
"""So many different tokens fit in two bytes, beside 0, the one that nobody wrote, and one to spare."""
MOST = 2**32 - 1
"""Tokens and documents together; places in the text are 32 bits."""
MAX_HEADER = 2**16


class SpanIndexError(ValueError):
    """The bytes are not a span index in canonical form, or there can be none of these documents."""


@dataclass(frozen=True)
class Header:
    """The sizes of a span index."""

    salt: str
    """32 bytes, hex."""
    owners: int
    """Contributors of the model, whether they have documents here or not."""
    documents: int
    tokens: int
    vocabulary: int
    """Different tokens that occur."""

    @property
    def width(self) -> int:
        """Bytes of a token in the text."""
        return 2 if self.vocabulary <= WIDE else 3

    @property
    def length(self) -> int:
        """Places in the text: tokens, ends of documents and padding."""
        return self.tokens + self.documents + PADDING

    def tensors(self) -> dict[str, tuple[str, list[int]]]:
        """Type and shape of each tensor, in the order in which they lie in the file."""
        return {
            "suffixes": ("U32", [self.tokens]),
            "starts": ("U32", [self.documents + 1]),
            "owners": ("U32", [self.documents]),
            "records": ("U32", [self.documents]),
            "vocabulary": ("U32", [self.vocabulary]),
            "counts": ("U32", [self.vocabulary]),
            "text": ("U8", [self.length, self.width]),
        }

    def offsets(self) -> dict[str, tuple[int, int]]:
        """Where each tensor begins and ends, in bytes after the prefix."""
        found, begin = {}, 0
        for name, (kind, shape) in self.tensors().items():
            size = 4 * shape[0] if kind == "U32" else shape[0] * shape[1]
            found[name] = (begin, begin + size)
            begin += size
        return found

    def prefix(self) -> bytes:
        """The file up to its data: length, then JSON padded with spaces to a multiple of eight."""
        document: dict[str, Any] = {"__metadata__": {"header": canonical.dumps(self.document()).decode()}}
        offsets = self.offsets()
        for name, (kind, shape) in self.tensors().items():
            document[name] = {"dtype": kind, "shape": shape, "data_offsets": list(offsets[name])}
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text

    def document(self) -> dict[str, Any]:
        """What the metadata holds."""
        return {"version": VERSION, **asdict(self)}

    def validate(self) -> None:
        """Raise SpanIndexError for sizes that no index has."""
        numbers = {key: value for key, value in asdict(self).items() if key != "salt"}
        for name, value in numbers.items():
            if type(value) is not int or not 0 <= value <= MOST:
                raise SpanIndexError(f"{name} must be a whole number from 0 to {MOST}, not {value!r:.80}")
        if self.length > MOST:
            raise SpanIndexError(f"{MOST} tokens and documents fit in one index, not {self.length}: make several")
        try:
            salt = bytes.fromhex(self.salt)
        except (ValueError, TypeError) as error:
            raise SpanIndexError("the salt is not in hex") from error
        if len(salt) != SALT_BYTES or salt.hex() != self.salt:
            raise SpanIndexError(f"a salt is {SALT_BYTES} bytes in lower-case hex")


def parse(data: memoryview) -> tuple[Header, int]:
    """The header of a file, and where its data begins.  Raises SpanIndexError; also for a file of another length."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else MAX_HEADER
    if length >= min(MAX_HEADER, len(data)):
        raise SpanIndexError("the file is too short to be a span index")
    header = _header(bytes(data[8 : 8 + length]))
    header.validate()
    prefix = header.prefix()
    end = len(prefix) + header.offsets()["text"][1]
    if data[: len(prefix)] != prefix or len(data) != end:
        raise SpanIndexError("the file is not in canonical form, or cut short")
    return header, len(prefix)


def _header(text: bytes) -> Header:
    try:
        document = canonical.loads(canonical.parse_json(text)["__metadata__"]["header"].encode())
        version = document.pop("version")
        header = Header(**document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SpanIndexError(f"the file is not a span index: {error}") from error
    if version != VERSION:
        raise SpanIndexError(f"unknown version of a span index: {version!r:.80}")
    return header
