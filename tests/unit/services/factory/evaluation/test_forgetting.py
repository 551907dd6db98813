from __future__ import annotations

import math

import numpy as np
import pytest

from services.factory.evaluation.forgetting import compare, not_measured
from services.factory.evaluation.likelihood import Likelihood


def likelihood(changes: np.ndarray) -> Likelihood:
    n = len(changes)
    before = np.linspace(1, 5, n)
    return Likelihood(before, before + changes, np.zeros(n), np.zeros(n))


@pytest.mark.parametrize(
    ("change", "warns", "words"),
    (
        (math.log(1.1) + 0.001, True, "The model forgets: on 40 questions of general knowledge, "),
        (math.log(1.1) - 0.001, False, "forgets a little"),
        (-0.2, False, "Nothing was forgotten"),
    ),
)
def test_the_size_of_a_sure_change_decides(change: float, warns: bool, words: str) -> None:
    noise = np.tile([-1e-4, 1e-4], 20)
    found = compare(likelihood(change + noise), "notice", 0, 500)
    assert found.warns is warns
    assert words in found.words
    assert found.loss_change.value == pytest.approx(change)
    assert (found.questions, found.notice) == (40, "notice")


def test_a_change_that_may_be_chance_is_no_forgetting() -> None:
    found = compare(likelihood(0.3 + np.tile([-3.0, 3.0], 20)), "", 0, 500)
    assert not found.warns
    assert found.words.startswith("No forgetting is to be seen: on 40 questions")


def test_the_change_is_said_as_perplexity() -> None:
    words = compare(likelihood(np.full(10, math.log(1.5))), "", 0, 100).words
    assert "perplexity of the right answers +50 % (95 % interval +50 % to +50 %)" in words
    assert "over +100,000 %" in compare(likelihood(np.full(10, 900.0)), "", 0, 100).words


def test_few_questions_say_nothing_and_a_damaged_model_warns() -> None:
    few = compare(likelihood(np.full(7, 5.0)), "", 0, 100)
    assert (few.warns, few.words) == (False, "7 questions of general knowledge are too few to see forgetting.")
    damaged = compare(likelihood(np.array([0.0] * 9 + [np.nan])), "", 0, 100)
    assert damaged.warns
    assert "For 1 of 10 questions the loss is no finite number" in damaged.words
    assert compare(likelihood(np.array([])), "", 0, 100).loss_change.value is None


def test_not_measured_says_why() -> None:
    assert not_measured("no package").words == "Forgetting was not measured: no package."
