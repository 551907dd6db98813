"""Gradients as 4 KB: a seeded random projection that any machine makes again, and one bit of each coordinate.

Projection S: R^P -> R^K. Each parameter is added, with a random sign, into one of D buckets (CountSketch, Charikar et
al. 2002), D the smallest power of two >= K. The buckets are then rotated: a Walsh-Hadamard transform, random signs, and
the transform again, after which coordinates are normal whatever the vector was (one transform alone makes a single
large entry equally large everywhere, and its signs drown the others). The first K are kept. What is random are the
64-bit numbers of Philox4x64-10 keyed by the seed, one a parameter and one a bucket: nothing is stored. Float64, sums in
the parameters' order: S is the same everywhere, bit for bit. <Sx, Sy> is <x, y> on average over seeds, with variance
(|x|^2 |y|^2 + <x, y>^2 - 2 sum x_i^2 y_i^2) / D where K = D.

Of a record's r only the signs s of Sr are kept, and a scale f = |r|^2 / |Sr|_1; of an answer's q, Sq in 6 bits. Then

    f <Sq, s> estimates <q, r>, with standard error about |q| |r| sqrt(pi / 2 / K), and for q = r nearly none.

One bit of 32,640 coordinates beats eight bits of 4,080: signs alone cost a factor of pi / 2 in variance, an eighth of
the coordinates one of eight. Sources: QJL (arXiv:2406.03482) for signs on one side only, RaBitQ (arXiv:2405.12497) for
the scale and for products by counting bits. Integers until the last multiplications, so ranks are the same everywhere.

This module does not know what the vectors mean, whose records they are of, or where sketches are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

BITS = 32_640
"""Coordinates of a sketch unless told otherwise: with its scale, its norm and its record's number 4,096 bytes."""

WORD = 64
LONGEST = 2.0**100
"""Sums beyond cannot be told from damage, and would not fit into float32."""
DRAWN = 2**20
"""Parameters whose buckets are in memory at a time."""
PLANES = 6
LARGEST = 2 ** (PLANES - 1) - 1
"""Of the integers that an answer's coordinates are rounded to."""
ROWS = 64
"""Records whose bits are counted at a time: 256 KB, within a core's cache."""


class SketchError(ValueError):
    """A vector cannot be sketched. The message says why."""


@dataclass(frozen=True)
class Projection:
    """S. size: P; seed: any text, best one that nobody could know when giving records; bits: K, a multiple of 64."""

    size: int
    seed: str
    bits: int = BITS

    def __post_init__(self) -> None:
        if not 0 < self.bits <= 2**20 or self.bits % WORD:
            raise SketchError(f"a sketch has a multiple of {WORD} bits, at most {2**20}, not {self.bits}")

    @property
    def buckets(self) -> int:
        """D."""
        return 1 << (self.bits - 1).bit_length()

    def __call__(self, vectors: npt.NDArray[np.floating]) -> Floats:
        """Project [n, P] to float64 [n, K], each row by itself.

        Raises SketchError for a wrong length, NaN or infinity.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.size:
            raise SketchError(f"expected vectors of {self.size} entries, got shape {vectors.shape}")
        values = vectors.astype(np.float64, copy=False)
        sums = np.zeros((len(values), self.buckets))
        for columns, buckets, signs in self._drawn():
            for total, row in zip(sums, values, strict=True):
                np.add.at(total, buckets, row[columns] * signs)
        if not (np.abs(sums) < LONGEST).all():
            raise SketchError("the vector holds NaN or infinity, or is too long")
        _hadamard(sums)
        sums *= _signs(self._stream("rotation").random_raw(self.buckets))
        _hadamard(sums)
        projected: Floats = sums[:, : self.bits] / np.sqrt(float(self.bits) * self.buckets)
        return projected

    def _drawn(self) -> Iterator[tuple[slice, npt.NDArray[np.intp], Floats]]:
        """(columns, bucket of each, sign of each) that cover all parameters."""
        stream = self._stream("buckets")
        for start in range(0, self.size, DRAWN):
            columns = slice(start, min(start + DRAWN, self.size))
            drawn = stream.random_raw(columns.stop - columns.start)
            buckets = (drawn >> np.uint64(WORD + 1 - self.buckets.bit_length())).astype(np.intp)
            yield columns, buckets, _signs(drawn)

    def _stream(self, use: str) -> np.random.Philox:
        key = hashlib.sha256(f"openledger.sketch.v1 {use}\n{self.seed}".encode()).digest()[:16]
        return np.random.Philox(key=int.from_bytes(key, "little"))


def _signs(drawn: npt.NDArray[np.uint64]) -> Floats:
    """1 or -1 by the lowest bit."""
    return 1.0 - 2.0 * (drawn & np.uint64(1)).astype(np.float64)


def _hadamard(rows: Floats) -> None:
    """The unnormalised Walsh-Hadamard transform of each row [n, 2^k], in place."""
    width = 1
    while width < rows.shape[1]:
        pairs = rows.reshape(len(rows), -1, 2, width)
        sums = pairs[:, :, 0] + pairs[:, :, 1]
        np.subtract(pairs[:, :, 0], pairs[:, :, 1], out=pairs[:, :, 1])
        pairs[:, :, 0] = sums
        width *= 2


@dataclass(frozen=True, eq=False)
class Signs:
    """Sketches of n records. signs: uint8 [n, K / 8], the first coordinate lowest; scales: float32 [n], f above."""

    signs: Bytes
    scales: npt.NDArray[np.float32]

    @classmethod
    def of(cls, vectors: npt.NDArray[np.floating], projection: Projection) -> Signs:
        """Sketch vectors [n, P]. Raises SketchError."""
        projected = projection(vectors)
        squares, sums = np.square(vectors, dtype=np.float64).sum(1), np.abs(projected).sum(1)
        scales = np.divide(squares, sums, out=np.zeros(len(vectors)), where=sums > 0)
        return cls(np.packbits(projected >= 0, axis=1, bitorder="little"), scales.astype(np.float32))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, K)."""
        return len(self.signs), self.signs.shape[1] * 8

    def __len__(self) -> int:
        return len(self.signs)

    def __getitem__(self, key: tuple[slice, slice]) -> Floats:
        """Some rows and columns of what the sketches stand for, f s: float64."""
        rows, columns = key
        bits = np.unpackbits(self.signs[rows], axis=1, bitorder="little")[:, columns]
        return (bits.astype(np.float64) * 2.0 - 1.0) * self.scales[rows, None].astype(np.float64)


@dataclass(frozen=True, eq=False)
class Answer:
    """The sketch of an answer. coordinates: int64 [K], from -31 to 31; unit: what one of it is worth."""

    coordinates: npt.NDArray[np.int64]
    unit: float
    norm: float = 1.0
    """Of what was sketched, in whatever metric cosines are taken."""

    @classmethod
    def of(cls, vector: npt.NDArray[np.floating], projection: Projection) -> Answer:
        """Sketch one vector [P]. Raises SketchError."""
        projected = projection(vector[None])[0]
        unit = float(np.abs(projected).max()) / LARGEST
        whole = np.rint(projected / unit) if unit else np.zeros(len(projected))
        return cls(whole.astype(np.int64), unit)

    @property
    def values(self) -> Floats:
        """What the sketch stands for [K]."""
        return self.coordinates.astype(np.float64) * self.unit

    def dots(self, records: Signs) -> Floats:
        """Estimates of the inner products with n records: float64 [n]. Reads 64 of them at a time."""
        counted = np.empty(len(records))
        for start in range(0, len(records), ROWS):
            rows = slice(start, start + ROWS)
            words = np.ascontiguousarray(records.signs[rows]).view(np.uint64)
            counted[rows] = 2 * self._over_set_bits(words) - int(self.coordinates.sum())
        return counted * self.unit * records.scales.astype(np.float64)

    def errors(self, records: Signs) -> Floats:
        """Standard errors of ``dots`` over seeds, for records that are nearly orthogonal to the answer: [n]."""
        return float(np.sqrt(np.square(self.values).sum())) * records.scales.astype(np.float64)

    def _over_set_bits(self, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The sum of coordinates where a record's bit is set: uint64 [n, K / 64] -> [n]."""
        totals = np.zeros(len(words), dtype=np.int64)
        for plane, weight in zip(self._planes, (*(1 << b for b in range(PLANES - 1)), -(LARGEST + 1)), strict=True):
            totals += weight * np.bitwise_count(words & plane).sum(1, dtype=np.int64)
        return totals

    @cached_property
    def _planes(self) -> npt.NDArray[np.uint64]:
        """Each binary digit of the coordinates in two's complement, lowest first: [PLANES, K / 64]."""
        digits = (self.coordinates[None] >> np.arange(PLANES)[:, None]) & 1
        return np.packbits(digits.astype(bool), axis=1, bitorder="little").view(np.uint64)
