"""Bootstrap intervals for means over a few records that come in groups, such as contributors.

A stratified bootstrap as it is mostly written, n draws out of n in each group, shrinks the variance by (n - 1) / n: by
half for groups of two, to nothing for groups of one, and those are what a tenth held out of everybody's records leaves.
So n - 1 are drawn (Rao and Wu, JASA 83, 1988), groups of one are pooled into one group (collapsed strata: Wolter,
Introduction to Variance Estimation, ch. 2; it errs on the wide side), and the interval is stretched as Student's t is
against the normal distribution (the aim of Hesterberg's expanded percentiles, arXiv:1411.5279; stretching reaches it
also where a few groups of two have but a few different resamples).  This module knows neither models nor records.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bounds = tuple[float, float]
TAILS = (0.025, 0.975)
ANYWHERE: Bounds = (-math.inf, math.inf)
SHARE: Bounds = (0.0, 1.0)
NOT_NEGATIVE: Bounds = (0.0, math.inf)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.  None: it cannot be said, for want of records or since it is not finite."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Resamples:
    """Weights of n records in R resamples of them, which every mean over these records shares."""

    weights: Floats
    """[R, n]; each row sums to 1.  R = 0 where fewer than two records say nothing of spread."""
    stretch: float
    """Student's t against the normal distribution, at the interval's ends."""

    def mean(self, values: Floats, bounds: Bounds = ANYWHERE) -> Estimate:
        """Of values [n], with its interval.  bounds: what the mean cannot exceed."""
        if not len(values) or not np.isfinite(values).all():
            return Estimate()
        return self.interval(float(values.mean()), self.weights @ values, bounds)

    def interval(self, value: float, draws: Floats, bounds: Bounds = ANYWHERE) -> Estimate:
        """An estimate from its value and what resamples gave in its place: [R], all finite."""
        if not len(draws):
            return Estimate(value)
        low, high = np.clip(value + self.stretch * (np.quantile(draws, TAILS) - value), *bounds)
        return Estimate(value, float(low), float(high))


def resamples(strata: Sequence[Hashable], seed: int, count: int) -> Resamples:
    """Weights for records of these groups.  ``count`` resamples, the same for the same seed."""
    n = len(strata)
    if n < 2:
        return Resamples(np.empty((0, n)), 1.0)
    rng = np.random.default_rng(seed)
    weights = np.empty((count, n))
    groups = _collapsed(strata)
    for members in groups:
        size = len(members)
        drawn = rng.multinomial(size - 1, np.full(size, 1 / size), size=count)
        weights[:, members] = drawn * (size / ((size - 1) * n))
    return Resamples(weights, _student(n - len(groups)) / NormalDist().inv_cdf(TAILS[1]))


def _collapsed(strata: Sequence[Hashable]) -> list[list[int]]:
    """Indices by group; groups of one are pooled, and a single one of them joins the smallest other group."""
    groups: dict[Hashable, list[int]] = {}
    for i, stratum in enumerate(strata):
        groups.setdefault(stratum, []).append(i)
    kept = [members for members in groups.values() if len(members) > 1]
    pooled = [members[0] for members in groups.values() if len(members) == 1]
    if len(pooled) > 1:
        kept.append(pooled)
    elif pooled:
        min(kept, key=len).append(pooled[0])
    return kept


def _student(freedom: int) -> float:
    """97.5 % point of Student's t: exact for 1 and 2, else to 1 in 1,000 (Abramowitz and Stegun 26.7.5)."""
    p = TAILS[1]
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom == 2:
        return (2 * p - 1) / math.sqrt(2 * p * (1 - p))
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(freedom) ** (k + 1) for k, term in enumerate(terms))
