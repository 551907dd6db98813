from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.factory.evaluation import trivia
from services.factory.evaluation.trivia import Question, TriviaUnavailable, example, notice, questions


def test_the_packages_questions_are_read_in_place() -> None:
    every = questions(10_000)
    assert len(every) == 260
    assert len({question.name for question in every}) == 260
    assert all(q.question and q.answer and "\n" not in q.question + q.answer for q in every)
    capital = next(q for q in every if "37th President" in q.question)
    assert capital.answer == "Richard Nixon"


def test_every_model_is_asked_the_same() -> None:
    assert questions(5) == questions(5)
    assert questions(0) == []


def test_its_licence_is_named() -> None:
    assert all(part in notice() for part in ("chatterbot-corpus 1.", "Gunther Cox", "BSD-3-Clause"))


def test_an_answer_is_measured_without_the_end_of_the_turn(tokenizer: Any) -> None:
    found = example(Question("q/1", "Why?", "Because"), tokenizer)
    assert tokenizer.decode(found.completion) == "Because"
    assert "Why?" in tokenizer.decode(found.prompt)


def test_without_the_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trivia, "find_spec", lambda _: None)
    for call in (notice, lambda: questions(1)):
        with pytest.raises(TriviaUnavailable, match="chatterbot-corpus is not installed; run `make setup`"):
            call()


@pytest.mark.parametrize("text", (None, "[", "other: 1", "- 1"))
def test_a_damaged_package_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None) -> None:
    monkeypatch.setattr(trivia, "_folder", lambda: tmp_path)
    (tmp_path / "data" / "english").mkdir(parents=True)
    if text is not None:
        (tmp_path / "data" / "english" / "trivia.yml").write_text(text)
    with pytest.raises(TriviaUnavailable, match="cannot be read"):
        questions(1)


def test_what_is_no_pair_of_texts_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trivia, "_folder", lambda: tmp_path)
    (tmp_path / "data" / "english").mkdir(parents=True)
    text = "conversations:\n- [a, b]\n- [a, b, c]\n- one\n- [a, 1]\n"
    (tmp_path / "data" / "english" / "trivia.yml").write_text(text)
    assert questions(9) == [Question("chatterbot-corpus/trivia/0", "a", "b")]
