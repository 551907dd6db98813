"""Record sketches: 4 KB of every training record's gradient, in one canonical file sorted by contributor.

``record_sketches.safetensors`` holds, in this order, ``signs`` uint8 [N, K / 8], ``leaves`` uint64 [N], ``norms`` and
``scales`` float32 [N], and ``metric`` int8 [P] (see ``sketch`` and ``metric``); its metadata key ``header`` is
canonical JSON naming the projection's seed and bits, the metric's kind, the parameter vector's layout, and the
contributors (sorted, lower-case addresses) with how many records each has. Rows are in that order, a contributor's by
leaf: a number that whoever makes the file gives meaning to. So what is asked of one contributor reads that
contributor's rows alone. The bytes are a function of the content, which is all that is needed to sketch an answer and
to compare.

Who has a record's text can tell from this file whether the record was trained on: it is as private as the records, goes
where they may go, and is made anew (``without``) when one is erased. This module reads a path that it is given, and
writes nothing; it knows neither texts nor models.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openledger import canonical
from openledger.influence.index import ADDRESS, MAX_HEADER, MAX_PARAMETERS
from openledger.influence.metric import KINDS, Metric
from openledger.influence.parameters import Parameter
from openledger.influence.sketch import Projection, Signs, SketchError

VERSION = "openledger.record_sketches.v1"
MAX_SEED = 256
COLUMNS = {"leaves": ("U64", "<u8"), "norms": ("F32", "<f4"), "scales": ("F32", "<f4")}
"""Of one number a record: safetensors' name of the type, and numpy's."""


class RecordSketchesError(ValueError):
    """The bytes are not record sketches in canonical form."""


@dataclass(frozen=True)
class Header:
    """What the rows mean. contributors: (address, records), at least one record each."""

    seed: str
    bits: int
    kind: str
    parameters: tuple[Parameter, ...]
    contributors: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        names, people = [p.name for p in self.parameters], [address for address, _ in self.contributors]
        _require(type(self.seed) is str and len(self.seed) <= MAX_SEED, f"a seed is a text of at most {MAX_SEED}")
        _require(type(self.bits) is int, "bits are a whole number")
        _require(self.kind in KINDS, f"sketches are of one of the kinds {', '.join(KINDS)}")
        _require(
            0 < len(names) <= MAX_PARAMETERS and names == sorted(set(names)), "parameters must be sorted and distinct"
        )
        shapes = [n for parameter in self.parameters for n in parameter.shape or (0,)]
        _require(all(type(n) is int and n > 0 for n in shapes), "a shape is a list of positive whole numbers")
        _require(people == sorted(set(people)), "contributors must be sorted and distinct")
        _require(all(map(ADDRESS.fullmatch, people)), "contributors must be lower-case 0x addresses")
        _require(all(type(n) is int and n > 0 for _, n in self.contributors), "a contributor has at least one record")
        try:
            _ = self.projection
        except SketchError as error:
            raise RecordSketchesError(str(error)) from error

    @cached_property
    def records(self) -> int:
        """N."""
        return sum(count for _, count in self.contributors)

    @cached_property
    def projection(self) -> Projection:
        """That of records and answers."""
        return Projection(sum(parameter.size for parameter in self.parameters), self.seed, self.bits)

    @cached_property
    def rows(self) -> dict[str, slice]:
        """Each contributor's."""
        ends = accumulate((count for _, count in self.contributors), initial=0)
        return {address: slice(*pair) for (address, _), pair in zip(self.contributors, pairwise(ends), strict=True)}

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        document = vars(self) | {
            "version": VERSION,
            "parameters": [{"name": p.name, "shape": list(p.shape)} for p in self.parameters],
        }
        return canonical.dumps({name: document[name] for name in ("version", *self.__dataclass_fields__)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """Parse and validate. Raises RecordSketchesError."""
        try:
            document = canonical.parse_json(data)
            parameters = tuple(Parameter(p["name"], tuple(p["shape"])) for p in document["parameters"])
            people = tuple((address, count) for address, count in document["contributors"])
            header = cls(document["seed"], document["bits"], document["kind"], parameters, people)
            _require(header.to_bytes() == data, "the header is not canonical, or of another version")
        except RecordSketchesError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RecordSketchesError(f"the header is damaged: {error}") from error
        return header


def _require(condition: object, reason: str) -> None:
    if not condition:
        raise RecordSketchesError(reason)


@dataclass(frozen=True, eq=False)
class Rows:
    """Of n records. leaves: uint64 [n]; norms: float32 [n], |U(g)| of their gradients; signs: see ``sketch``."""

    leaves: npt.NDArray[np.uint64]
    norms: npt.NDArray[np.float32]
    signs: Signs

    def __getitem__(self, rows: slice | npt.NDArray[np.intp]) -> Rows:
        return Rows(self.leaves[rows], self.norms[rows], Signs(self.signs.signs[rows], self.signs.scales[rows]))

    @classmethod
    def of(
        cls,
        header: Header,
        metric: Metric,
        leaves: Iterable[int],
        gradients: npt.NDArray[np.floating],
        steps: npt.NDArray[np.floating] | None = None,
    ) -> Rows:
        """Sketch gradients [n, P] of records; steps: see ``Metric.records``. Raises SketchError, ValueError."""
        balanced, norms = metric.records(gradients, steps)
        return cls(
            np.array(list(leaves), dtype=np.uint64), norms.astype(np.float32), Signs.of(balanced, header.projection)
        )


@dataclass(frozen=True, eq=False)
class RecordSketches:
    """A file's content: header, metric and all rows."""

    header: Header
    metric: Metric
    rows: Rows

    def __post_init__(self) -> None:
        header, rows = self.header, self.rows
        _require(self.metric.kind == header.kind, "header and metric are of different kinds")
        _require(self.metric.exponents.shape == (header.projection.size,), "the metric does not fit the parameters")
        shapes = {rows.leaves.shape, rows.norms.shape, rows.signs.scales.shape, (len(rows.signs),)}
        _require(shapes == {(header.records,)} and rows.signs.shape[1] == header.bits, "the rows do not fit the header")
        lengths = np.concatenate([rows.norms, rows.signs.scales])
        _require(bool(np.isfinite(lengths).all() and (lengths >= 0).all()), "a norm or scale is not a length")
        ascending = rows.leaves[1:] > rows.leaves[:-1]
        starts = [theirs.start for theirs in header.rows.values() if theirs.start]
        ascending[np.array(starts, dtype=np.intp) - 1] = True
        distinct = len(np.unique(rows.leaves)) == header.records
        _require(
            bool(ascending.all()) and distinct,
            "a contributor's records must be in the order of their leaves, once each",
        )

    def of(self, contributor: str) -> Rows:
        """One contributor's rows: none where there are none."""
        return self.rows[self.header.rows.get(contributor, slice(0, 0))]

    @classmethod
    def open(cls, path: Path) -> RecordSketches:
        """Memory-map a file; signs stay on disk. Raises RecordSketchesError, or OSError where it cannot be read."""
        if path.stat().st_size == 0:
            raise RecordSketchesError("the file is empty")
        return cls._parse(np.memmap(path, dtype=np.uint8, mode="r"))

    @classmethod
    def from_bytes(cls, data: bytes) -> RecordSketches:
        """Parse a file held in memory. Raises RecordSketchesError."""
        return cls._parse(np.frombuffer(data, dtype=np.uint8))

    @classmethod
    def _parse(cls, data: npt.NDArray[np.uint8]) -> RecordSketches:
        length = struct.unpack("<Q", data[:8].tobytes())[0] if len(data) >= 8 else MAX_HEADER
        _require(length < min(MAX_HEADER, len(data)), "the file is too short to be record sketches")
        try:
            text = canonical.parse_json(data[8 : 8 + length].tobytes())["__metadata__"]["header"]
            header = Header.from_bytes(text.encode())
        except RecordSketchesError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RecordSketchesError(f"the file is not record sketches: {error}") from error
        prefix, places = _prefix(header), _places(header)
        _require(len(data) == len(prefix) + places["metric"].stop, "the file is cut short, or too long")
        _require(data[: len(prefix)].tobytes() == prefix, "the file is not in canonical form")
        body = data[len(prefix) :]
        numbers = {name: np.array(body[places[name]]).view(kind) for name, (_, kind) in COLUMNS.items()}
        signs = Signs(body[places["signs"]].reshape(header.records, header.bits // 8), numbers["scales"])
        metric = Metric(header.kind, body[places["metric"]].view(np.int8))
        return cls(header, metric, Rows(numbers["leaves"], numbers["norms"], signs))

    def without(self, leaves: Collection[int]) -> tuple[Header, Iterator[Rows]]:
        """What ``encode`` takes to write the file without some records, a contributor at a time."""
        gone = np.array(sorted(leaves), dtype=np.uint64)
        kept = {address: ~np.isin(self.of(address).leaves, gone) for address, _ in self.header.contributors}
        people = tuple((address, count) for address, mask in kept.items() if (count := int(mask.sum())))
        header = Header(self.header.seed, self.header.bits, self.header.kind, self.header.parameters, people)
        return header, (self.of(address)[np.flatnonzero(kept[address])] for address, _ in people)


def encode(header: Header, metric: Metric, rows: Iterable[Rows]) -> Iterator[bytes]:
    """The file in pieces; rows as they come, in the header's order: their signs are not kept in memory.

    Equal content has equal bytes. Raises RecordSketchesError where the rows are not those of the header, at the end.
    """
    yield _prefix(header)
    small = []
    for some in rows:
        yield np.ascontiguousarray(some.signs.signs).tobytes()
        small.append((some.leaves, some.norms, some.signs.scales))
    columns = [np.concatenate(column) if column else np.zeros(0) for column in zip(*small, strict=True)] or [
        np.zeros(0)
    ] * 3
    leaves, norms, scales = (c.astype(kind) for c, (_, kind) in zip(columns, COLUMNS.values(), strict=True))
    unread = np.broadcast_to(np.uint8(0), (len(leaves), header.bits // 8))
    RecordSketches(header, metric, Rows(leaves, norms, Signs(unread, scales)))
    yield from (leaves.tobytes(), norms.tobytes(), scales.tobytes(), metric.exponents.tobytes())


def _places(header: Header) -> dict[str, slice]:
    """Where each tensor's bytes lie after the prefix, in order."""
    records = header.records
    lengths = {"signs": records * header.bits // 8}
    lengths |= {name: records * np.dtype(kind).itemsize for name, (_, kind) in COLUMNS.items()}
    lengths["metric"] = header.projection.size
    ends = accumulate(lengths.values(), initial=0)
    return {name: slice(*pair) for name, pair in zip(lengths, pairwise(ends), strict=True)}


def _prefix(header: Header) -> bytes:
    """A safetensors file up to its data: length, then JSON padded with spaces to a multiple of eight."""
    shapes: dict[str, tuple[str, list[int]]] = {"signs": ("U8", [header.records, header.bits // 8])}
    shapes |= {name: (kind, [header.records]) for name, (kind, _) in COLUMNS.items()}
    shapes["metric"] = "I8", [header.projection.size]
    document: dict[str, Any] = {"__metadata__": {"header": header.to_bytes().decode()}}
    for name, place in _places(header).items():
        kind, shape = shapes[name]
        document[name] = {"dtype": kind, "shape": shape, "data_offsets": [place.start, place.stop]}
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
