"""In which metric gradients are sketched: one scale a parameter, a byte each, the same for records and answers.

Scorers of records are <g_q, U(g_r)> with g_q an answer's gradient and U(g_r) the step that a record's gradient would
make. Where U scales parameters by very different factors, a sketch of U(g_r) would spend itself on few of them. So both
sides are balanced by D, about the root of those factors: sketched are D g_q and D^-1 U(g_r), whose product is the same.

    kind        D                               U(g)                          what its products are
    gradient    1                               g                             dot products of gradients
    adam        (sqrt(v) + eps)^-1/2            D^2 g                         ... in Adam's metric
    tensor      (mean of v in its tensor)^-1/2  D^2 g                         DataInf's without its correction
    less        as adam                         Adam's next step on g alone   LESS'

v is Adam's second moment at the end of training over its bias correction. DataInf weights tensors by 1 / lambda, lambda
being 0.1 times the mean square of the records' gradients there; the mean of v takes its place here, up to a factor of
no account, because it is known without a second pass over the records. D is kept as 2^(k/8) with k int8: at most 4.5 %
off, and with the same bits on every machine. This module does not know the optimizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from openledger.influence.quantize import Int8

Floats = npt.NDArray[np.float64]

KINDS = ("gradient", "adam", "tensor", "less")
STEPS = 8
"""Steps to an octave."""
EPSILON = 1e-8

_HALF = sqrt(2.0)
_EIGHTH = sqrt(sqrt(_HALF))
_OCTAVE = np.array(
    [(_HALF if k & 4 else 1.0) * (sqrt(_HALF) if k & 2 else 1.0) * (_EIGHTH if k & 1 else 1.0) for k in range(8)]
)
"""2^(k/8), by square roots alone: those are rounded correctly everywhere, powers are not."""


@dataclass(frozen=True, eq=False)
class Metric:
    """kind: one of KINDS; exponents: int8 [P], k above."""

    kind: str
    exponents: Int8

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of sketch {self.kind!r}; there are {', '.join(KINDS)}")

    @classmethod
    def of(cls, kind: str, second_moment: npt.NDArray[np.floating], sizes: Sequence[int]) -> Metric:
        """That of a kind, from v [P] and the tensors' entries.  Raises ValueError."""
        if kind == "gradient":
            return cls.gradient(sum(sizes))
        return cls.tensor(second_moment, sizes) if kind == "tensor" else cls.adam(second_moment, kind)

    @classmethod
    def gradient(cls, size: int) -> Metric:
        """None at all, of P parameters."""
        return cls("gradient", np.zeros(size, dtype=np.int8))

    @classmethod
    def adam(cls, second_moment: npt.NDArray[np.floating], kind: str = "adam") -> Metric:
        """Adam's, from v [P]; kind "less" for records that are sketched by ``record_scores.Less.step``."""
        return cls(kind, _exponents(np.sqrt(np.asarray(second_moment, dtype=np.float64)) + EPSILON))

    @classmethod
    def tensor(cls, second_moment: npt.NDArray[np.floating], sizes: Sequence[int]) -> Metric:
        """One factor a tensor of ``sizes`` entries, from v [P]."""
        parts = np.split(np.asarray(second_moment, dtype=np.float64), np.cumsum(sizes)[:-1])
        means = np.array([part.mean() for part in parts])
        return cls("tensor", np.repeat(_exponents(means / (means.max(initial=0.0) or 1.0) + EPSILON), sizes))

    @property
    def factors(self) -> Floats:
        """D [P]."""
        factors: Floats = np.ldexp(_OCTAVE[self.exponents % STEPS], self.exponents // STEPS)
        return factors

    def answers(self, gradients: npt.NDArray[np.floating]) -> Floats:
        """D g of gradients [n, P]."""
        return gradients * self.factors

    def records(
        self, gradients: npt.NDArray[np.floating], steps: npt.NDArray[np.floating] | None = None
    ) -> tuple[Floats, Floats]:
        """D^-1 U(g) [n, P] and |U(g)| [n] of gradients [n, P]; steps: U(g) [n, P], needed for the kind "less" alone.

        Raises ValueError.
        """
        if (steps is not None) is not (self.kind == "less"):
            raise ValueError('steps are given for sketches of the kind "less", and for no others')
        factors = self.factors
        balanced = gradients * factors if steps is None else steps / factors
        images = balanced * factors
        return balanced, np.sqrt(np.einsum("np,np->n", images, images))


def _exponents(inverse_squares: Floats) -> Int8:
    """Of D = inverse_squares^-1/2 the exponents k, rounded, and cut off where a byte ends."""
    if not (np.isfinite(inverse_squares).all() and (inverse_squares > 0).all()):
        raise ValueError("Adam's second moment must be finite and not negative")
    return np.clip(np.rint(-STEPS / 2 * np.log2(inverse_squares)), -128, 127).astype(np.int8)
