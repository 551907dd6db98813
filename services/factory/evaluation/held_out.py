"""What tuning did to records that it never saw: loss and token accuracy before and after, with intervals.

Every held-out record counts the same.  Differences are paired: the same records under both models.  This module says
figures, not what they are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.factory.data import Example
from services.factory.evaluation.interval import NOT_NEGATIVE, SHARE, Estimate, resamples
from services.factory.evaluation.likelihood import Likelihood


@dataclass(frozen=True)
class Figures:
    """Of one set of records.  Losses in nats per token, accuracies as shares of tokens, both means over records."""

    records: int
    loss_before: Estimate
    loss_after: Estimate
    loss_change: Estimate
    """After less before: below zero is better."""
    accuracy_before: Estimate
    accuracy_after: Estimate
    accuracy_change: Estimate
    """After less before: above zero is better."""


@dataclass(frozen=True)
class ContributorFigures:
    contributor: str
    """Lower-case address."""
    figures: Figures


@dataclass(frozen=True)
class HeldOut:
    figures: Figures
    not_finite: int
    """Records for which a loss is no finite number; they are in no figure."""
    left_out: int
    """Held-out records that were not measured: beyond the budget, or longer than the model's context."""
    contributors: tuple[ContributorFigures, ...]
    """By address; everybody with a record in the figures."""


def compare(examples: Sequence[Example], measured: Likelihood, left_out: int, seed: int, count: int) -> HeldOut:
    """examples: what ``measured`` says something of, in order; count: resamples."""
    finite = measured.finite
    kept = measured.take(finite)
    strata = [example.contributor for example, usable in zip(examples, finite, strict=True) if usable]
    rows = []
    for contributor in sorted(set(strata)):
        theirs = np.array([stratum == contributor for stratum in strata])
        rows.append(ContributorFigures(contributor, _figures(kept.take(theirs), [0] * int(theirs.sum()), seed, count)))
    return HeldOut(_figures(kept, strata, seed, count), int((~finite).sum()), left_out, tuple(rows))


def _figures(measured: Likelihood, strata: Sequence[object], seed: int, count: int) -> Figures:
    draws = resamples(strata, seed, count)
    return Figures(
        records=len(strata),
        loss_before=draws.mean(measured.loss_before, NOT_NEGATIVE),
        loss_after=draws.mean(measured.loss_after, NOT_NEGATIVE),
        loss_change=draws.mean(measured.loss_change),
        accuracy_before=draws.mean(measured.accuracy_before, SHARE),
        accuracy_after=draws.mean(measured.accuracy_after, SHARE),
        accuracy_change=draws.mean(measured.accuracy_after - measured.accuracy_before),
    )
