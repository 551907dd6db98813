"""What tuning did to general knowledge: the loss of short right answers to trivia, before and after.

A warning is given where the whole interval of the change is above zero and perplexity rose by 10 % or more.  This
module does not see the data that was trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.factory.evaluation.interval import NOT_NEGATIVE, Estimate, resamples
from services.factory.evaluation.likelihood import Likelihood
from services.factory.evaluation.words import perplexity_change

MARGIN = 0.10
"""Rise of perplexity, as a share, from which on a warning is given."""
MIN_QUESTIONS = 8


@dataclass(frozen=True)
class Forgetting:
    """Losses of the answers, in nats per token, means over questions."""

    questions: int
    loss_before: Estimate
    loss_after: Estimate
    loss_change: Estimate
    warns: bool
    words: str
    notice: str
    """Of the questions' licence; to be shown beside the figures."""


def not_measured(why: str) -> Forgetting:
    return Forgetting(0, Estimate(), Estimate(), Estimate(), False, f"Forgetting was not measured: {why}.", "")


def compare(measured: Likelihood, notice: str, seed: int, count: int) -> Forgetting:
    """measured: of the questions' answers; count: resamples."""
    total, damaged = len(measured.finite), int((~measured.finite).sum())
    kept = measured.take(measured.finite)
    draws = resamples([0] * (total - damaged), seed, count)
    change = draws.mean(kept.loss_change)
    warns, words = _words(total - damaged, change)
    if damaged:
        warns, words = True, f"For {damaged} of {total} questions the loss is no finite number: the model is damaged."
    return Forgetting(
        questions=total - damaged,
        loss_before=draws.mean(kept.loss_before, NOT_NEGATIVE),
        loss_after=draws.mean(kept.loss_after, NOT_NEGATIVE),
        loss_change=change,
        warns=warns,
        words=words,
        notice=notice,
    )


def _words(questions: int, change: Estimate) -> tuple[bool, str]:
    if questions < MIN_QUESTIONS or change.value is None or change.low is None or change.high is None:
        return False, f"{questions} questions of general knowledge are too few to see forgetting."
    by, low, high = (perplexity_change(nats) for nats in (change.value, change.low, change.high))
    figures = f"perplexity of the right answers {by} (95 % interval {low} to {high})"
    figures = f"on {questions} questions of general knowledge, {figures}"
    if change.low <= 0 <= change.high:
        return False, f"No forgetting is to be seen: {figures}."
    if change.high < 0:
        return False, f"Nothing was forgotten: {figures}."
    if change.value >= math.log1p(MARGIN):
        return True, f"The model forgets: {figures}. Fewer epochs or a lower learning rate keep more."
    return False, f"The model forgets a little: {figures}."
