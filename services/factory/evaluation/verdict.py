"""Whether tuning helped, in plain words, by fixed rules from the held-out figures alone.

The rules, the first that applies:
1. a loss that is no finite number is *worse*;
2. fewer than 8 records are *too few*: with 8, that all of them moved one way happens by chance in 2 of 256 cases;
3. the whole interval of the loss's change above zero is *worse*;
4. the whole interval below -0.01 nat a token (perplexity 1 % lower) is *clearly better*, unless the whole interval of
   the accuracy's change is below zero;
5. anything else is *no clear gain*.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.factory.evaluation.held_out import HeldOut
from services.factory.evaluation.interval import Estimate
from services.factory.evaluation.words import perplexity, share

MIN_RECORDS = 8
MARGIN = 0.01
"""Nats per token that a gain must exceed to matter."""


class Verdict(StrEnum):
    CLEARLY_BETTER = "clearly better"
    NO_CLEAR_GAIN = "no clear gain"
    WORSE = "worse"
    TOO_FEW = "too few held-out records to tell"


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    words: str
    """Why, in one or two sentences for the model's builder."""


def judge(held_out: HeldOut) -> Judgement:
    figures, broken = held_out.figures, held_out.not_finite
    if broken:
        total = figures.records + broken
        words = f"For {broken} of {total} held-out records the loss is no finite number: the model is damaged."
        return Judgement(Verdict.WORSE, words)
    if figures.records < MIN_RECORDS:
        return Judgement(Verdict.TOO_FEW, _too_few(figures.records))
    loss, accuracy = figures.loss_change, figures.accuracy_change
    fewer_right = accuracy.high is not None and accuracy.high < 0
    if loss.low is not None and loss.low > 0:
        verdict, comment = Verdict.WORSE, "The base model alone does better on this data."
    elif loss.high is not None and loss.high < -MARGIN and not fewer_right:
        verdict, comment = Verdict.CLEARLY_BETTER, ""
    elif fewer_right:
        verdict, comment = Verdict.NO_CLEAR_GAIN, "It guesses fewer tokens right than the base model."
    else:
        verdict, comment = Verdict.NO_CLEAR_GAIN, "More held-out records, or other settings, may show one."
    return Judgement(verdict, f"{_measured(held_out)} {comment}".rstrip())


def _too_few(records: int) -> str:
    if not records:
        return "No record was held out, so nothing says whether the model learned or merely memorised."
    noun = "record was" if records == 1 else "records were"
    return f"Only {records} {noun} held out; at least {MIN_RECORDS} are needed to say anything."


def _measured(held_out: HeldOut) -> str:
    figures = held_out.figures
    before, after, change = figures.loss_before.value, figures.loss_after.value, figures.loss_change
    right, was = figures.accuracy_after.value, figures.accuracy_before.value
    if before is None or after is None or right is None or was is None:
        return "The loss could not be measured."
    people = len(held_out.contributors)
    whose = "one contributor" if people == 1 else f"{people} contributors"
    sign = 1 if after > before else -1
    moved = f"{'rose' if sign > 0 else 'fell'} by {abs(after - before):.3f}{_interval(change, sign)}"
    return (
        f"On {figures.records} records of {whose} that it was not trained on, the loss {moved} from {before:.3f} to "
        f"{after:.3f} nats a token, perplexity {perplexity(before)} to {perplexity(after)}; it guesses {share(right)} "
        f"of tokens right, was {share(was)}."
    )


def _interval(estimate: Estimate, sign: int) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    return f" (95 % interval {low:.3f} to {high:.3f})"
