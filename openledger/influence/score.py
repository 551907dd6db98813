"""Scores of an answer: exact dot products of its quantised gradient with every contributor's quantised vector.

s_c(q) = - grad(mean NLL of the answer q) . D_c: the estimated rise of the answer's loss, per token, had contributor c
not contributed. Integers in 2**-64 nat. Positive: c's records made the answer more likely.

A score is the sum of T tensors' parts v_t; its standard error is the jackknife's over them,

    sqrt(T / (T - 1) sum_t (v_t - mean v)^2) = sqrt((T sum v_t^2 - (sum v_t)^2) / (T - 1))

which is about twice what scores were measured to be off retraining, in every domain alike: docs/adr/0026-netting.md.
This module does not know how scores become money, nor how gradient and vectors came about.
"""

from dataclasses import dataclass

from openledger.influence.index import ContributionIndex
from openledger.influence.quantize import Quantised, QuantizeError, products
from openledger.integers import root_of_ratio


@dataclass(frozen=True)
class Scores:
    """Scores in 2**-64 nat: of contributors by address, and of placebos (pure noise: the floor of the method)."""

    contributors: dict[str, int]
    placebos: list[int]
    errors: dict[str, int]
    """Standard errors of the contributors' scores."""


def scores(gradient: Quantised, index: ContributionIndex) -> Scores:
    """Score one answer against an index. Raises QuantizeError where the gradient is of another adapter layout."""
    if gradient.sizes != index.header.sizes:
        raise QuantizeError("the gradient and the contribution index have different parameter layouts")
    sums, shifts = products(index.vectors, index.exponents, gradient)
    parts = -(sums.astype(object) << shifts.astype(object))
    values, squares = parts.sum(axis=0).tolist(), (parts**2).sum(axis=0).tolist()
    addresses, tensors = index.header.contributors, len(parts)
    errors = [
        root_of_ratio(tensors * square - value**2, max(1, tensors - 1))
        for value, square in zip(values, squares, strict=True)
    ]
    return Scores(
        dict(zip(addresses, values, strict=False)), values[len(addresses) :], dict(zip(addresses, errors, strict=False))
    )
