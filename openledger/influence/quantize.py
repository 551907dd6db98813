"""Vectors as integers: int8 mantissas with one power-of-two exponent per tensor, and dot products that are exact.

value = mantissa * 2**exponent, mantissa in -127..127, exponent in -32..127. A product of two such values is an integer
multiple of 2**-64, so a dot product of a gradient (nats) with a displacement is a Python int in units of 2**-64 nat:
the same on every machine, whatever the order of summation. This module knows neither what the vectors mean nor where
they are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NAT = 2**64
"""Units per nat: scores and losses are integers in 2**-64 nat."""

MIN_EXPONENT = -32
MAX_MANTISSA = 127
MAX_SIZE = 2**38
"""Entries per vector. |mantissa| <= 128 in any int8 file, so a sum of products is at most 2**52: whole in float64."""
BLOCK = 1024
"""Entries whose products sum to at most 2**24: every partial sum is whole in float32, whatever the order."""
ROWS = 128
"""Rows times BLOCK in float32 are 512 KB, which stay in a core's cache between conversion and product."""

Int8 = npt.NDArray[np.int8]


class QuantizeError(ValueError):
    """A vector cannot be quantised, or two quantised vectors do not fit each other."""


@dataclass(frozen=True, eq=False)
class Quantised:
    """One quantised vector.

    mantissas: int8 [P]; exponents: int8 [T]; sizes: entries of each of the T tensors, summing to P.
    """

    mantissas: Int8
    exponents: Int8
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        check(self.mantissas[None], self.exponents[None], self.sizes)

    def to_bytes(self) -> bytes:
        """Exponents, then mantissas: also the leaf that an index row has in the Merkle tree."""
        return self.exponents.tobytes() + self.mantissas.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, sizes: Sequence[int]) -> Quantised:
        """The inverse of ``to_bytes``. Raises QuantizeError for a wrong length or range."""
        if len(data) != len(sizes) + sum(sizes):
            raise QuantizeError(f"expected {len(sizes) + sum(sizes)} bytes, got {len(data)}")
        values = np.frombuffer(data, dtype=np.int8)
        return cls(values[len(sizes) :], values[: len(sizes)], tuple(sizes))

    def to_float(self) -> npt.NDArray[np.float64]:
        """The represented values, exactly: float64 [P]."""
        return np.ldexp(self.mantissas.astype(np.float64), np.repeat(self.exponents, self.sizes))


def quantise(vector: npt.NDArray[np.floating], sizes: Sequence[int]) -> Quantised:
    """Round a vector [P] of T tensors to the nearest representable values (ties to even).

    Each tensor gets the smallest exponent >= MIN_EXPONENT at which its largest entry still fits.
    Error: at most half a step, 2**(exponent - 1) per entry. Raises QuantizeError for NaN, infinity or a wrong length.
    """
    if vector.ndim != 1 or len(vector) != sum(sizes):
        raise QuantizeError(f"expected a vector of {sum(sizes)} entries, got shape {vector.shape}")
    values = vector.astype(np.float64)
    if not np.isfinite(values).all():
        raise QuantizeError("the vector holds NaN or infinity")
    mantissas = np.empty(len(values), dtype=np.int8)
    exponents = np.empty(len(sizes), dtype=np.int8)
    start = 0
    for t, size in enumerate(sizes):
        part = values[start : start + size]
        exponents[t] = exponent = _exponent(float(np.abs(part).max(initial=0.0)))
        mantissas[start : start + size] = np.rint(np.ldexp(part, -exponent))
        start += size
    return Quantised(mantissas, exponents, tuple(sizes))


def _exponent(largest: float) -> int:
    """The smallest exponent >= MIN_EXPONENT with rint(largest / 2**exponent) <= MAX_MANTISSA."""
    exponent = max(int(np.frexp(largest)[1]) - 7, MIN_EXPONENT) if largest else MIN_EXPONENT
    if np.rint(np.ldexp(largest, -exponent)) > MAX_MANTISSA:
        exponent += 1
    if exponent > 127:
        raise QuantizeError(f"the value {largest!r} is too large to quantise")
    return exponent


def check(mantissas: npt.NDArray[np.generic], exponents: npt.NDArray[np.generic], sizes: Sequence[int]) -> None:
    """Raise QuantizeError unless rows [R, P], [R, T] have the right types, shapes and ranges for exact dot products."""
    if mantissas.dtype != np.int8 or exponents.dtype != np.int8:
        raise QuantizeError("mantissas and exponents must be int8")
    if mantissas.shape != (len(exponents), sum(sizes)) or exponents.shape != (len(exponents), len(sizes)):
        raise QuantizeError(f"shapes {mantissas.shape} and {exponents.shape} do not fit {len(sizes)} tensors")
    if sum(sizes) > MAX_SIZE:
        raise QuantizeError(f"a vector has more than {MAX_SIZE} entries")
    if exponents.size and int(exponents.min()) < MIN_EXPONENT:
        raise QuantizeError(f"an exponent is below {MIN_EXPONENT}")


def dot(mantissas: Int8, exponents: Int8, vector: Quantised) -> list[int]:
    """Exact dot products of R quantised rows (int8 [R, P], int8 [R, T]) with one vector, in units of 2**-64."""
    return _shifted(*products(mantissas, exponents, vector))


def products(
    mantissas: Int8, exponents: Int8, vector: Quantised
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of every tensor apart: sums [T, R], and by how many bits [T, R] they must be shifted to be in units of 2**-64.

    Sums are taken block by block in float32 BLAS, which is exact here (see BLOCK) and therefore independent of blocking
    and threads; what is read of a memory-mapped file at a time is small.
    """
    check(mantissas, exponents, vector.sizes)
    sums = np.zeros((len(vector.sizes), len(mantissas)))
    factors, buffer = vector.mantissas.astype(np.float32), np.empty(ROWS * BLOCK, np.float32)
    blocks = list(_blocks(vector.sizes))
    for start in range(0, len(mantissas), ROWS):
        rows = mantissas[start : start + ROWS]
        for tensor, block in blocks:
            part = rows[:, block]
            floats = buffer[: part.size].reshape(part.shape)
            np.copyto(floats, part)
            sums[tensor, start : start + ROWS] += floats @ factors[block]
    shifts = exponents.T.astype(np.int64) + vector.exponents[:, None].astype(np.int64) - 2 * MIN_EXPONENT
    return sums.astype(np.int64), shifts


def _blocks(sizes: Sequence[int]) -> Iterator[tuple[int, slice]]:
    """A vector's entries in blocks, none of which is of two tensors."""
    end = 0
    for tensor, size in enumerate(sizes):
        first, end = end, end + size
        yield from ((tensor, slice(start, min(start + BLOCK, end))) for start in range(first, end, BLOCK))


def _shifted(sums: npt.NDArray[np.int64], shifts: npt.NDArray[np.integer]) -> list[int]:
    """Per column of [T, R] the sum of ``sums << shifts``, in Python ints, which have no largest value."""
    totals = np.zeros(sums.shape[1], dtype=object)
    for shift in np.unique(shifts):
        totals += np.where(shifts == shift, sums, 0).sum(axis=0).astype(object) << int(shift)
    result: list[int] = totals.tolist()
    return result


def agreement(ours: Quantised, theirs: Quantised) -> float:
    """Share of entries that differ by at most one quantisation step: 1.0 when equal.

    Two CPUs may round a floating-point backward pass differently; the integers made of it then differ in few places by
    one step. Values are compared, not mantissas, so that an exponent on the edge between two powers does not count.
    """
    if ours.sizes != theirs.sizes:
        raise QuantizeError("the two vectors have different layouts")
    step = np.ldexp(1.0, np.repeat(np.maximum(ours.exponents, theirs.exponents), ours.sizes))
    close = np.abs(ours.to_float() - theirs.to_float()) <= step
    return float(close.mean()) if close.size else 1.0


def to_units(nats: float) -> int:
    """A loss in nats as an int in 2**-64 nat, rounded to 2**-32 nat: below that a float32 loss holds no information."""
    if not np.isfinite(nats):
        raise QuantizeError(f"the loss is {nats}")
    return round(nats * 2**32) << 32
