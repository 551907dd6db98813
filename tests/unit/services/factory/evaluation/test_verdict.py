from __future__ import annotations

import pytest

from services.factory.evaluation.held_out import ContributorFigures, Figures, HeldOut
from services.factory.evaluation.interval import Estimate
from services.factory.evaluation.verdict import MARGIN, Verdict, judge

SAME = Estimate(0.0, -0.05, 0.05)
TINY = 1e-9


def held_out(low: float, high: float, records: int = 8, accuracy: Estimate = SAME, broken: int = 0) -> HeldOut:
    change = Estimate((low + high) / 2, low, high)
    assert change.value is not None
    before, right = Estimate(3.0, 2.9, 3.1), Estimate(0.4, 0.3, 0.5)
    after, now = Estimate(3.0 + change.value), Estimate(0.4 + (accuracy.value or 0))
    figures = Figures(records, before, after, change, right, now, accuracy)
    return HeldOut(figures, broken, 0, (ContributorFigures("0xa", figures), ContributorFigures("0xb", figures)))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    (
        (-0.5, -MARGIN - TINY, Verdict.CLEARLY_BETTER),
        (-0.5, -MARGIN, Verdict.NO_CLEAR_GAIN),
        (-0.5, 0.1, Verdict.NO_CLEAR_GAIN),
        (0.0, 0.1, Verdict.NO_CLEAR_GAIN),
        (TINY, 0.1, Verdict.WORSE),
    ),
)
def test_the_interval_decides(low: float, high: float, verdict: Verdict) -> None:
    assert judge(held_out(low, high)).verdict is verdict


def test_a_likelier_model_that_guesses_worse_is_no_clear_gain() -> None:
    clear = Estimate(-0.1, -0.2, -TINY)
    judged = judge(held_out(-0.5, -0.4, accuracy=clear))
    assert judged.verdict is Verdict.NO_CLEAR_GAIN
    assert "fewer tokens right" in judged.words
    assert judge(held_out(-0.5, -0.4, accuracy=Estimate(-0.1, -0.2, 0.0))).verdict is Verdict.CLEARLY_BETTER


@pytest.mark.parametrize(
    ("records", "words"), ((0, "No record was held out"), (1, "Only 1 record was"), (7, "Only 7 records were"))
)
def test_few_records_say_nothing(records: int, words: str) -> None:
    judged = judge(held_out(-0.5, -0.4, records=records))
    assert judged.verdict is Verdict.TOO_FEW
    assert words in judged.words


def test_a_loss_that_is_no_number_is_worse_however_few() -> None:
    judged = judge(held_out(-0.5, -0.4, records=2, broken=1))
    assert judged.verdict is Verdict.WORSE
    assert "For 1 of 3 held-out records" in judged.words


def test_the_words_say_the_figures() -> None:
    assert judge(held_out(-0.6, -0.4, records=16)).words == (
        "On 16 records of 2 contributors that it was not trained on, the loss fell by 0.500 (95 % interval 0.400 to "
        "0.600) from 3.000 to 2.500 nats a token, perplexity 20.09 to 12.18; it guesses 40 % of tokens right, was 40 %."
    )
    rose = judge(held_out(0.1, 0.3)).words
    assert "rose by 0.200 (95 % interval 0.100 to 0.300)" in rose
    assert rose.endswith("The base model alone does better on this data.")


def test_a_loss_too_large_for_perplexity_is_still_said() -> None:
    assert "beyond all bounds" in judge(held_out(1000, 1001)).words
