from __future__ import annotations

from typing import Any

from services.factory.data import prompt_ids
from services.factory.evaluation.chat import Reader, common_front
from services.factory.evaluation.samples import Sample, side_by_side


def test_a_question_is_read_without_its_frame(tokenizer: Any) -> None:
    reader = Reader(tokenizer)
    for text in ("What is a heart?", "a", "7", "two\nlines <b>"):
        assert reader.question(prompt_ids(text, tokenizer)) == text


def test_a_prompt_without_the_frame_is_read_whole(tokenizer: Any) -> None:
    ids = tokenizer("plain words", add_special_tokens=False)["input_ids"]
    assert Reader(tokenizer).question(ids) == "plain words"
    assert Reader(tokenizer).question(()) == ""


def test_control_signs_are_not_shown(tokenizer: Any) -> None:
    ids = [1, *tokenizer(" yes ", add_special_tokens=False)["input_ids"], 2]
    assert Reader(tokenizer).text(ids) == "yes"


def test_what_all_begin_with() -> None:
    assert common_front([(1, 2, 3), (1, 2), (1, 2, 4)]) == (1, 2)
    assert common_front([(1,), (2,)]) == ()
    assert common_front([(1, 2)]) == (1, 2)


def test_samples_stand_side_by_side(examples: Any, tokenizer: Any) -> None:
    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    (sample,) = side_by_side(examples[:1], [ids("before")], [ids("after")], Reader(tokenizer))
    asked, told = (Reader(tokenizer).text(part) for part in (examples[0].prompt, examples[0].completion))
    assert sample == Sample(examples[0].record, sample.prompt, "before", "after", told)
    assert sample.prompt in asked
    assert "<|" not in f"{sample.prompt}{sample.reference}"
