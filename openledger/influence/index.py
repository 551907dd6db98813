"""The contribution index: one quantised vector per contributor, in one canonical file.

``contribution_index.safetensors`` holds int8 tensors ``vectors`` [C + K, P] and ``exponents`` [C + K, T]; its
metadata key ``header`` is canonical JSON naming the layout, the contributors (sorted, lower-case addresses; one row
each) and the number K of placebo rows after them. The file's bytes are a function of this content: reading refuses
any other encoding. ``root`` commits to it by an RFC 6962 tree: leaf 0 the header, then one leaf per row, exponents ||
vector.

This module does not know how the vectors were made. It reads a path that it is given, and writes nothing.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openledger import canonical, merkle
from openledger.influence.parameters import Parameter, sizes
from openledger.influence.quantize import Int8, Quantised, QuantizeError, check, quantise

VERSION = "openledger.index.v1"
ADDRESS = re.compile(r"0x[0-9a-f]{40}")
HEADER_FIELDS = {"version", "parameters", "contributors", "placebos"}
MAX_HEADER = 64 * 2**20
MAX_PARAMETERS = 100_000


class ContributionIndexError(ValueError):
    """The bytes are not a contribution index in canonical form."""


@dataclass(frozen=True)
class Header:
    """What the rows mean: the parameter vector's layout, the contributors of rows 0..C-1, and K placebos after them."""

    parameters: tuple[Parameter, ...]
    contributors: tuple[str, ...]
    placebos: int

    @property
    def rows(self) -> int:
        """C + K."""
        return len(self.contributors) + self.placebos

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each tensor."""
        return sizes(self.parameters)

    def to_bytes(self) -> bytes:
        """Canonical JSON: leaf 0 of the Merkle tree."""
        return canonical.dumps(
            {
                "version": VERSION,
                "parameters": [{"name": p.name, "shape": list(p.shape)} for p in self.parameters],
                "contributors": list(self.contributors),
                "placebos": self.placebos,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """Parse and validate. Raises ContributionIndexError."""
        try:
            document = canonical.loads(data)
            _require(document.keys() == HEADER_FIELDS, "the header has missing or unknown fields")
            _require(document["version"] == VERSION, f"unknown index version {document['version']!r}")
            parameters = tuple(_parameter(entry) for entry in document["parameters"])
            header = cls(parameters, tuple(document["contributors"]), document["placebos"])
        except ContributionIndexError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ContributionIndexError(f"the header is damaged: {error}") from error
        header.validate()
        return header

    def validate(self) -> None:
        """Raise ContributionIndexError for names that are not sorted, distinct and well formed."""
        names = [parameter.name for parameter in self.parameters]
        if not 0 < len(names) <= MAX_PARAMETERS or names != sorted(set(names)):
            raise ContributionIndexError("parameter names must be present, sorted and distinct")
        if list(self.contributors) != sorted(set(self.contributors)) or not all(
            map(ADDRESS.fullmatch, self.contributors)
        ):
            raise ContributionIndexError("contributors must be sorted, distinct, lower-case 0x addresses")
        if type(self.placebos) is not int or self.placebos < 0:
            raise ContributionIndexError("the number of placebos must be a whole number, not negative")


def _require(condition: object, reason: str) -> None:
    if not condition:
        raise ContributionIndexError(reason)


def _parameter(entry: Any) -> Parameter:
    name, shape = entry["name"], entry["shape"]
    if len(entry) != 2 or not isinstance(name, str) or not isinstance(shape, list):
        raise ContributionIndexError("a parameter needs a name and a shape, nothing else")
    if not shape or not all(type(n) is int and n > 0 for n in shape):
        raise ContributionIndexError(f"parameter {name}: a shape is a list of positive whole numbers")
    return Parameter(name, tuple(shape))


@dataclass(frozen=True, eq=False)
class ContributionIndex:
    """header; vectors: int8 [C + K, P]; exponents: int8 [C + K, T]. Rows in the header's order."""

    header: Header
    vectors: Int8
    exponents: Int8

    def __post_init__(self) -> None:
        self.header.validate()
        if len(self.vectors) != self.header.rows:
            raise ContributionIndexError(
                f"the header names {self.header.rows} rows, the file holds {len(self.vectors)}"
            )
        try:
            check(self.vectors, self.exponents, self.header.sizes)
        except QuantizeError as error:
            raise ContributionIndexError(str(error)) from error

    @classmethod
    def open(cls, path: Path) -> ContributionIndex:
        """Memory-map an index file. Raises ContributionIndexError, or OSError where the file cannot be read."""
        if path.stat().st_size == 0:
            raise ContributionIndexError("the file is empty")
        return cls._parse(np.memmap(path, dtype=np.uint8, mode="r"))

    @classmethod
    def from_bytes(cls, data: bytes) -> ContributionIndex:
        """Parse an index held in memory. Raises ContributionIndexError."""
        return cls._parse(np.frombuffer(data, dtype=np.uint8))

    @classmethod
    def _parse(cls, data: npt.NDArray[np.uint8]) -> ContributionIndex:
        length = struct.unpack("<Q", data[:8].tobytes())[0] if len(data) >= 8 else MAX_HEADER
        if length >= min(MAX_HEADER, len(data)):
            raise ContributionIndexError("the file is too short to be a contribution index")
        try:
            text = canonical.parse_json(data[8 : 8 + length].tobytes())["__metadata__"]["header"]
            header = Header.from_bytes(text.encode())
        except ContributionIndexError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ContributionIndexError(f"the file is not a contribution index: {error}") from error
        prefix = _prefix(header)
        rows, width, tensors = header.rows, sum(header.sizes), len(header.sizes)
        if data[: len(prefix)].tobytes() != prefix or len(data) != len(prefix) + rows * (width + tensors):
            raise ContributionIndexError("the file is not in canonical form, or cut short")
        body = data[len(prefix) :].view(np.int8)
        return cls(header, body[rows * tensors :].reshape(rows, width), body[: rows * tensors].reshape(rows, tensors))

    def to_bytes(self) -> bytes:
        """The file. Equal indexes have equal bytes."""
        return b"".join(joined([self]))

    def row(self, number: int) -> Quantised:
        """One row's vector; contributors first, then placebos."""
        return Quantised(self.vectors[number], self.exponents[number], self.header.sizes)

    def leaves(self) -> Iterator[bytes]:
        """The Merkle leaves: header, then rows."""
        yield self.header.to_bytes()
        for number in range(self.header.rows):
            yield self.row(number).to_bytes()


def _prefix(header: Header) -> bytes:
    """A safetensors file up to its data: length, then JSON padded with spaces to a multiple of eight."""
    rows, width, tensors = header.rows, sum(header.sizes), len(header.sizes)
    first = rows * tensors
    document = {
        "__metadata__": {"header": header.to_bytes().decode()},
        "exponents": {"dtype": "I8", "shape": [rows, tensors], "data_offsets": [0, first]},
        "vectors": {"dtype": "I8", "shape": [rows, width], "data_offsets": [first, first + rows * width]},
    }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def root(index: ContributionIndex) -> bytes:
    """The 32-byte RFC 6962 root that commits to the whole index."""
    return merkle.root_of_hashes([merkle.leaf_hash(leaf) for leaf in index.leaves()])


def joined(indices: Sequence[ContributionIndex]) -> Iterator[bytes | memoryview]:
    """The file of one index with all their rows, in pieces: contributors in the given order, then all placebos.

    Nothing is copied, so indexes on disk take no memory.
    Raises ContributionIndexError for layouts that differ, and for contributors who are not in order.
    """
    headers = [each.header for each in indices]
    if any(header.parameters != headers[0].parameters for header in headers):
        raise ContributionIndexError("indexes of different layouts cannot be joined")
    people = tuple(chain.from_iterable(header.contributors for header in headers))
    header = Header(headers[0].parameters, people, sum(header.placebos for header in headers))
    header.validate()
    yield _prefix(header)
    for tensors in ([each.exponents for each in indices], [each.vectors for each in indices]):
        counted = [(rows, len(each.contributors)) for rows, each in zip(tensors, headers, strict=True)]
        yield from (rows[:count].data for rows, count in counted)
        yield from (rows[count:].data for rows, count in counted)


def build(
    parameters: Iterable[Parameter],
    contributors: Mapping[str, npt.NDArray[np.floating]],
    placebos: Sequence[npt.NDArray[np.floating]] = (),
) -> ContributionIndex:
    """Quantise displacement vectors [P] into an index.

    Raises ContributionIndexError for bad names, QuantizeError for bad values.
    """
    header = Header(tuple(parameters), tuple(sorted(contributors)), len(placebos))
    return quantised(header, chain((contributors[address] for address in header.contributors), placebos))


def quantised(header: Header, vectors: Iterable[npt.NDArray[np.floating]]) -> ContributionIndex:
    """Quantise rows [P] as they come, in the header's order; one of them at a time is in memory.

    Raises ContributionIndexError for bad names, QuantizeError for bad values, ValueError for a wrong number of rows.
    """
    header.validate()
    mantissas = np.empty((header.rows, sum(header.sizes)), dtype=np.int8)
    exponents = np.empty((header.rows, len(header.sizes)), dtype=np.int8)
    for number, vector in zip(range(header.rows), vectors, strict=True):
        row = quantise(vector, header.sizes)
        mantissas[number], exponents[number] = row.mantissas, row.exponents
    return ContributionIndex(header, mantissas, exponents)
