"""Scores of an answer: exact dot products of its quantised gradient with every contributor's quantised vector.

s_c(q) = - grad(mean NLL of the answer q) . D_c: the estimated rise of the answer's loss, per token, had contributor c
not contributed. Integers in 2**-64 nat. Positive: c's records made the answer more likely. This module does not know
how scores become money, nor how gradient and vectors came about.
"""

from dataclasses import dataclass

from openledger.influence.index import ContributionIndex
from openledger.influence.quantize import Quantised, QuantizeError, dot
from openledger.integers import root_mean_square


@dataclass(frozen=True)
class Scores:
    """Scores in 2**-64 nat: of contributors by address, and of placebos (pure noise: the floor of the method)."""

    contributors: dict[str, int]
    placebos: list[int]
    errors: dict[str, int]
    """Standard errors of the contributors' scores: what noise of each one's size scores."""


def scores(gradient: Quantised, index: ContributionIndex) -> Scores:
    """Score one answer against an index. Raises QuantizeError where the gradient is of another adapter layout."""
    if gradient.sizes != index.header.sizes:
        raise QuantizeError("the gradient and the contribution index have different parameter layouts")
    values = [-product for product in dot(index.vectors, index.exponents, gradient)]
    addresses = index.header.contributors
    people, placebos = values[: len(addresses)], values[len(addresses) :]
    errors = standard_errors(placebos, index.lengths)
    return Scores(dict(zip(addresses, people, strict=True)), placebos, dict(zip(addresses, errors, strict=True)))


def standard_errors(placebos: list[int], lengths: list[int]) -> list[int]:
    """Root mean square of the placebos' scores, times how much longer a contributor's vector is than theirs.

    lengths: of all rows, placebos last. Zeros where there are no placebos. Rounded up. Why by length:
    docs/adr/0026-netting.md.
    """
    people = len(lengths) - len(placebos)
    noise, length = root_mean_square(placebos), root_mean_square(lengths[people:])
    return [-(-noise * each // length) if length else 0 for each in lengths[:people]]
