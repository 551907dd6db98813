"""Whether one can tell from the model what it was trained on: losses of trained records against held-out ones.

Overfitting shows as a gap: trained records became likelier by more than held-out ones did (Yeom et al.,
arXiv:1709.01604).  An attacker who has the base model as well looks at each record's change of loss, which takes out
how hard the record is by itself; the AUC is how often that ranks a trained record before a held-out one (0.5: a coin).
This module knows no attack that is stronger than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.factory.evaluation.interval import SHARE, Estimate, resamples
from services.factory.evaluation.likelihood import Likelihood
from services.factory.evaluation.words import share

MIN_RECORDS = 8
WARNS_FROM = 0.7
"""AUC; and its whole interval above a half."""


@dataclass(frozen=True)
class Membership:
    """Losses in nats per token."""

    trained: int
    """Records trained on that were looked at."""
    held_out: int
    gap_before: Estimate
    """Held-out less trained loss under the base model: that the ones are harder than the others."""
    gap_after: Estimate
    """The same under the tuned model."""
    auc: Estimate
    warns: bool
    words: str


def compare(trained: Likelihood, held_out: Likelihood, seed: int, count: int) -> Membership:
    """count: resamples.  What is not finite is left out."""
    ours, others = (part.take(part.finite) for part in (trained, held_out))
    n, m = len(ours.loss_after), len(others.loss_after)
    if min(n, m) < MIN_RECORDS:
        words = f"{n} trained and {m} held-out records are too few to see whether membership can be told."
        return Membership(n, m, Estimate(), Estimate(), Estimate(), False, words)
    in_, out = resamples([0] * n, seed, count), resamples([0] * m, seed + 1, count)
    # Rows: how much likelier each trained record became than each held-out one; ties count a half.
    ahead = 0.5 * (1 + np.sign(others.loss_change[None, :] - ours.loss_change[:, None]))
    draws = ((in_.weights @ ahead) * out.weights).sum(axis=1)
    auc = in_.interval(float(ahead.mean()), draws, SHARE)
    gaps = [
        in_.interval(float(b.mean() - a.mean()), out.weights @ b - in_.weights @ a)
        for a, b in ((ours.loss_before, others.loss_before), (ours.loss_after, others.loss_after))
    ]
    warns, words = _words(n, m, auc, gaps)
    return Membership(n, m, gaps[0], gaps[1], auc, warns, words)


def _words(trained: int, held_out: int, auc: Estimate, gaps: Sequence[Estimate]) -> tuple[bool, str]:
    value, low, high, before, after = auc.value, auc.low, auc.high, gaps[0].value, gaps[1].value
    if value is None or low is None or high is None or before is None or after is None:
        return False, "Whether membership can be told was not measured."
    figures = (
        f"who has the base model, too, tells a trained from a held-out record in {share(value)} of pairs (95 % "
        f"interval {share(low)} to {share(high)}, a coin 50 %; {trained} and {held_out} records, whose gap in loss "
        f"went from {before:.3f} to {after:.3f} nats)"
    )
    if low <= 0.5:
        return False, f"Trained records do not stand out: {figures}."
    if value < WARNS_FROM:
        return False, f"Trained records stand out a little: {figures}."
    return True, f"Trained records stand out: {figures}. Do not tune so on data whose presence must stay secret."
