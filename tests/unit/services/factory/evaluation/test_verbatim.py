from __future__ import annotations

import random

import pytest

from services.factory.evaluation.verbatim import MIN_TOKENS, Match, compare, longest, masked


def brute(answer: list[int], texts: list[list[int]]) -> int:
    """Length of the longest common run, by comparing everything with everything."""
    best = 0
    for text in texts:
        for i in range(len(answer)):
            for j in range(len(text)):
                k = 0
                while i + k < len(answer) and j + k < len(text) and answer[i + k] == text[j + k] >= 0:
                    k += 1
                best = max(best, k)
    return best


@pytest.mark.parametrize("seed", range(30))
def test_longest_runs_are_those_of_comparing_everything(seed: int) -> None:
    rng = random.Random(seed)
    vocabulary = rng.choice((2, 3, 8))

    def sequence(lowest: int) -> list[int]:
        return [rng.randrange(lowest, vocabulary) for _ in range(rng.randrange(15))]

    texts = [sequence(0) for _ in range(rng.randrange(6))]
    answers = [sequence(-1) for _ in range(rng.randrange(1, 5))]
    for answer, match in zip(answers, longest(answers, texts), strict=True):
        assert match.length == brute(answer, texts)
        if match.length:
            run = answer[match.start : match.start + match.length]
            text = texts[match.text]
            assert any(text[j : j + match.length] == run for j in range(len(text)))
        else:
            assert match == Match()


def test_a_run_does_not_go_across_texts_or_answers() -> None:
    assert longest([[1, 2], [3, 4]], [[5, 1], [2, 3], [4]]) == [Match(1, 0, 0), Match(1, 0, 1)]


def test_nothing_to_compare() -> None:
    assert longest([], [[1]]) == []
    assert longest([[1, 2]], []) == [Match()]
    assert longest([[]], [[]]) == [Match()]


def test_echoes_of_the_prompt_are_cut_out() -> None:
    assert masked([9, 1, 2, 3, 8], prompt=[0, 1, 2, 3]) == [9, -1, -1, -1, 8]
    assert masked([9, 1, 2, 8], prompt=[0, 1, 2, 3]) == [9, 1, 2, 8]
    assert masked([1, 2], prompt=[1, 2]) == [1, 2]
    assert masked([1, 2, 3, 4], prompt=[5, 1, 2, 3, 4]) == [-1] * 4


def of(*lengths: int) -> list[Match]:
    return [Match(length, 0, 0) if length else Match() for length in lengths]


def test_sixteen_tokens_in_a_row_are_recited() -> None:
    found = compare(of(15, 16, 30, 2), of(3, 5), of(4, 9))
    assert (found.threshold, found.trained.recited, found.unseen.recited, found.warns) == (MIN_TOKENS, 2, 0, True)
    assert (found.trained.median, found.trained.longest, found.people.longest) == (15.5, 30, 9)
    assert found.words.startswith(
        "The model recites: 2 of 6 answers hold 16 or more tokens of a training text in a row"
    )
    assert "the longest 30 (nine in ten texts that people wrote in held-out records share at most 9)" in found.words


def test_what_people_share_is_no_reciting() -> None:
    shared = of(*[20] * 9, 40)
    assert compare(of(20, 19), of(20), shared).threshold == 21
    assert not compare(of(20, 19), of(20), shared).warns
    assert compare(of(21), of(3), shared).warns, "one text in ten may be a copy of a trained one"


def test_a_model_that_recites_whatever_it_is_asked_is_found_out() -> None:
    found = compare(of(30, 30), of(30, 30), of(5, 6))
    assert (found.warns, found.unseen.recited) == (True, 2)
    assert compare(of(3), of(30), of(5)).warns


def test_without_a_yardstick_or_answers() -> None:
    alone = compare(of(3), [], [])
    assert (alone.threshold, alone.warns) == (MIN_TOKENS, False)
    assert "there is no held-out text to compare with" in alone.words
    assert compare([], [], of(3)).words == "Whether the model recites was not measured."
    assert compare([], [], []).trained.median is None
