"""Influence of single training records on an answer from gradients at the end of training: the field's usual scorers.

One interface for all of them, so that they can be compared on the same retrains and used to drill down from a
contributor to its records. Every scorer is <T(g_q), U(g_i)> for the gradients of a query's and a record's mean NLL and
some maps T and U. Positive: the record made the answer more likely. Scores are comparable within a query only.

What they have in common and do not know: the path that training took. They look at its end, so they credit a record
for what it would still teach, not for what it taught; ``shadow`` follows the path, and pays better for it.

Record gradients may be a memory map larger than memory: they are read in blocks (``Fisher`` takes N x 65,536 entries
at a time, and an N x N matrix). Sums are in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

HEIGHT, WIDTH = 2**7, 2**16
"""Rows and columns of record gradients in memory at a time: 64 MB as float64."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """What a scorer looks at. Raises ValueError where the shapes do not fit each other.

    queries: float [Q, P], gradients of the answers' mean NLL; records: float [N, P], of the training records' mean NLL,
    an array or a memory map; sizes: entries of each tensor, in vector order, summing to P (see ``parameters``);
    second_moment: float [P], Adam's second moment at the end of training divided by its bias correction, or None;
    first_moment: likewise, or None.
    """

    queries: npt.NDArray[np.floating]
    records: npt.NDArray[np.floating]
    sizes: tuple[int, ...]
    second_moment: npt.NDArray[np.floating] | None = None
    first_moment: npt.NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        width = sum(self.sizes)
        moments = [m.shape for m in (self.second_moment, self.first_moment) if m is not None]
        if self.queries.shape[1:] != (width,) or self.records.shape[1:] != (width,) or {*moments} - {(width,)}:
            shapes = [self.queries.shape, self.records.shape, *moments]
            raise ValueError(f"shapes {shapes} do not fit tensors of {width} entries")

    def adam(self) -> npt.NDArray[np.floating]:
        """Adam's second moment [P]. Raises ValueError where there is none."""
        if self.second_moment is None:
            raise ValueError("this scorer needs Adam's second moment")
        return self.second_moment


class RecordScorer(Protocol):
    """From gradients to one score for every query and record."""

    def __call__(self, gradients: Gradients) -> Floats:
        """Scores [Q, N]."""
        ...


Map = Callable[[Floats, slice], Floats]
"""A block of record gradients [n, columns] and which columns of P these are -> their images [n, columns]."""


@dataclass(frozen=True)
class Dot:
    """<g_q, g_i>, or <g_q, P g_i> with Adam's metric P = 1 / (sqrt(v) + epsilon), which scales each parameter's step.

    TracIn at the last checkpoint (arXiv:2002.08484); ``cosine`` divides by the norms of both sides.
    """

    cosine: bool = False
    adam: bool = False
    epsilon: float = 1e-8

    def __call__(self, gradients: Gradients) -> Floats:
        """Scores [Q, N]. Raises ValueError where Adam's metric is asked for and there is no second moment."""
        moment = gradients.adam() if self.adam else None

        def step(block: Floats, columns: slice) -> Floats:
            return block if moment is None else block / (np.sqrt(_float64(moment[columns])) + self.epsilon)

        dots, squares = _dots(gradients, step)
        return _cosines(gradients.queries, dots, squares) if self.cosine else dots


@dataclass(frozen=True)
class Less:
    """Cosine of g_q with the step that Adam would take next on the record alone: LESS (arXiv:2402.04333) at its end.

    U(g) = (b1 m + (1 - b1) g) / (sqrt(b2 v + (1 - b2) g^2) + epsilon); without a first moment m is 0. The betas are
    those that the moments were made with. LESS averages this over the checkpoints of a warm-up, weighted by their
    learning rates, and projects both sides to 8,192 dimensions; here is one checkpoint and no projection. Its epsilon
    stands inside the root, where it would drown every gradient below 1e-4; here it stands where the optimizer has it.
    """

    first: float = 0.9
    second: float = 0.95
    epsilon: float = 1e-8

    def __call__(self, gradients: Gradients) -> Floats:
        """Scores [Q, N]. Raises ValueError where there is no second moment."""
        v, m = gradients.adam(), gradients.first_moment

        def step(block: Floats, columns: slice) -> Floats:
            return self.step(block, v[columns], None if m is None else m[columns])

        return _cosines(gradients.queries, *_dots(gradients, step))

    def step(
        self,
        records: npt.NDArray[np.floating],
        second_moment: npt.NDArray[np.floating],
        first_moment: npt.NDArray[np.floating] | None = None,
    ) -> Floats:
        """U(g) of gradients [n, P] for moments [P]."""
        gradients = _float64(records)
        momentum = 0.0 if first_moment is None else self.first * _float64(first_moment)
        square = self.second * _float64(second_moment) + (1 - self.second) * gradients**2
        return (momentum + (1 - self.first) * gradients) / (np.sqrt(square) + self.epsilon)


@dataclass(frozen=True)
class DataInf:
    """DataInf (arXiv:2310.00902): the empirical Fisher matrix of each tensor, inverted before it is averaged.

    Per tensor l of D entries, with damping lambda = 0.1 sum_i |g_i|^2 / (N D), the paper's choice,

        score_k = sum_l v . g_k,    v = (1/N) sum_i (lambda + g_i g_i^T)^-1 g_q
                                      = (g_q - (1/N) sum_i g_i (g_i . g_q) / (lambda + |g_i|^2)) / lambda

    The paper's influence is minus this (of weighting a record up, on the loss). A mean of inverses is not the inverse
    of the mean: along each of N orthogonal gradients it takes off at most one N-th, the true inverse nearly all. So on
    many different records DataInf is the dot product of gradients with tensors weighted by 1 / lambda.
    """

    damping: float = 0.1

    def __call__(self, gradients: Gradients) -> Floats:
        """Scores [Q, N]."""
        scores = np.zeros((len(gradients.queries), len(gradients.records)))
        start = 0
        for size in gradients.sizes:
            scores += self._tensor(gradients, slice(start, start + size))
            start += size
        return scores

    def _tensor(self, gradients: Gradients, tensor: slice) -> Floats:
        """One tensor's part of the scores [Q, N]."""
        records = gradients.records
        dots, squares = _dots(gradients, within=tensor)
        damping = self.damping * float(squares.sum()) / max(1, len(records) * (tensor.stop - tensor.start))
        if damping == 0:  # every record's gradient is zero here, and so is its score
            return dots
        weights = dots / (damping + squares) / len(records)
        scores = np.zeros(dots.shape)
        for columns in _columns(tensor):
            solved = _float64(gradients.queries[:, columns]).copy()
            for rows, block in _rows(records, columns):
                solved -= weights[:, rows] @ block
            for rows, block in _rows(records, columns):
                scores[:, rows] += solved @ block.T
        scores /= damping
        return scores


@dataclass(frozen=True)
class Fisher:
    """g_q^T (F + lambda)^-1 g_i with the empirical Fisher matrix F = (1/N) sum_i g_i g_i^T of all tensors together.

    By the N x N Gram matrix K = G G^T, since g_q^T (F + lambda)^-1 G^T = N g_q^T G^T (K + N lambda)^-1: exact, at N^2
    memory. lambda is ``damping`` times tr(F) / N, the mean of F's N eigenvalues that need not be zero, so that damping
    has no unit. With ``adam`` all gradients are first taken into Adam's metric, g / sqrt(sqrt(v) + epsilon): curvature
    then corrects the optimizer's step instead of replacing it.
    """

    damping: float = 1.0
    adam: bool = False
    epsilon: float = 1e-8

    def __call__(self, gradients: Gradients) -> Floats:
        """Scores [Q, N]. Raises ValueError where Adam's metric is asked for and there is no second moment."""
        moment = gradients.adam() if self.adam else None
        records = len(gradients.records)
        gram, dots = np.zeros((records, records)), np.zeros((len(gradients.queries), records))
        for columns in _columns(slice(0, sum(gradients.sizes))):
            scale = 1.0 if moment is None else 1 / np.sqrt(np.sqrt(_float64(moment[columns])) + self.epsilon)
            block = _float64(gradients.records[:, columns]) * scale
            gram += block @ block.T
            dots += (_float64(gradients.queries[:, columns]) * scale) @ block.T
        trace = np.trace(gram) / max(records, 1)  # tr(F), and N lambda = damping * tr(F)
        if trace == 0:
            return dots  # no gradient anywhere: zeros
        solved: Floats = np.linalg.solve(gram + self.damping * trace * np.eye(records), dots.T).T
        return solved * records


SCORERS: Mapping[str, RecordScorer] = MappingProxyType(
    {
        "gradient-dot": Dot(),
        "gradient-cosine": Dot(cosine=True),
        "datainf": DataInf(),
        "fisher": Fisher(),
        "adam-dot": Dot(adam=True),
        "adam-cosine": Dot(adam=True, cosine=True),
        "adam-fisher": Fisher(adam=True),
        "less": Less(),
    }
)
"""Every scorer under the name that reports use, with its default parameters."""


def by_contributor(scores: Floats, owners: npt.ArrayLike, contributors: int) -> Floats:
    """Sums of record scores by owner: [Q, N] and int [N], from 0 to contributors - 1, -> [Q, contributors].

    Additive over records, so who splits an account in two gets the same for both together. Raises ValueError.
    """
    who = np.asarray(owners)
    if who.shape != scores.shape[1:] or (who.size and not 0 <= who.min() <= who.max() < contributors):
        raise ValueError(f"one owner from 0 to {contributors - 1} is needed for each of {scores.shape[1]} records")
    sums = np.zeros((len(scores), contributors))
    for row, values in zip(sums, scores, strict=True):
        np.add.at(row, who, values)
    return sums


def _float64(values: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _columns(within: slice) -> Iterator[slice]:
    """``within`` in pieces of at most WIDTH columns."""
    for start in range(within.start, within.stop, WIDTH):
        yield slice(start, min(start + WIDTH, within.stop))


def _rows(records: npt.NDArray[np.floating], columns: slice) -> Iterator[tuple[slice, Floats]]:
    """(rows, float64 block [n, columns]) that cover all rows."""
    for start in range(0, len(records), HEIGHT):
        rows = slice(start, start + HEIGHT)
        yield rows, _float64(records[rows, columns])


def _dots(gradients: Gradients, step: Map | None = None, within: slice | None = None) -> tuple[Floats, Floats]:
    """<g_q, U(g_i)> [Q, N] and |U(g_i)|^2 [N] over some columns, by default all; U is the identity by default."""
    records = gradients.records
    dots, squares = np.zeros((len(gradients.queries), len(records))), np.zeros(len(records))
    for columns in _columns(within or slice(0, sum(gradients.sizes))):
        query = _float64(gradients.queries[:, columns])
        for rows, block in _rows(records, columns):
            image = block if step is None else step(block, columns)
            dots[:, rows] += query @ image.T
            squares[rows] += np.einsum("np,np->n", image, image)
    return dots, squares


def _cosines(queries: npt.NDArray[np.floating], dots: Floats, squares: Floats) -> Floats:
    """Dot products by the norms of both sides; 0 where a side is zero."""
    norms = np.sqrt(np.einsum("qp,qp->q", _float64(queries), _float64(queries)))[:, None] * np.sqrt(squares)
    cosines = np.zeros(dots.shape)
    np.divide(dots, norms, out=cosines, where=norms > 0)
    return cosines
