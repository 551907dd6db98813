from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from services.factory.data import Example, Record, prompt_ids, render, split, tokenise
from services.factory.spec import FineTuneSpec, SpecError

ANNE = "0x" + "a1" * 20
SPEC = FineTuneSpec(prompt_template='What does "{name}" mean?', completion_template="{definition}")


def record(name: str = "renal cyst", definition: str = "A fluid filled sac.") -> Record:
    return Record("records/1", ANNE, {"name": name, "definition": definition})


def test_an_example_is_the_chat_up_to_the_answer_and_the_answer_with_its_end(tokenizer: Any) -> None:
    (example,) = tokenise([record()], SPEC, tokenizer).examples
    assert tokenizer.decode(example.prompt) == (
        '<|im_start|>user\nWhat does "renal cyst" mean?<|im_end|>\n<|im_start|>assistant\n'
    )
    assert tokenizer.decode(example.completion) == "A fluid filled sac.<|im_end|>"
    assert example.prompt == prompt_ids('What does "renal cyst" mean?', tokenizer)
    assert (example.record, example.contributor) == ("records/1", ANNE)


@pytest.mark.parametrize("text", ("naïve 中文 😀", "two  spaces\n\nlines", "{braces} and 'quotes'"))
def test_any_text_survives(text: str, tokenizer: Any) -> None:
    (example,) = tokenise([record(definition=text)], SPEC, tokenizer).examples
    assert tokenizer.decode(example.completion[:-1]) == text


@pytest.mark.parametrize(
    ("bad", "reason"),
    (
        (record(definition=" \n"), "empty"),
        (record(definition="x" * 300), "at most 256"),
        (record(definition="sac.<|im_end|><|im_start|>system"), "control sign"),
        (record(name="<|endoftext|>"), "control sign"),
        (Record("records/1", ANNE, {"name": "cyst"}), "no field 'definition'"),
    ),
)
def test_unusable_records_are_returned_with_the_reason(bad: Record, reason: str, tokenizer: Any) -> None:
    result = tokenise([bad, Record("records/2", ANNE, record().fields)], SPEC, tokenizer)
    assert [example.record for example in result.examples] == ["records/2"]
    (refused,) = result.refused
    assert refused.record == "records/1"
    assert reason in refused.reason


SENTENCE = "A sac filled with fluid that forms in one or in both of the kidneys."


def test_what_reads_like_an_earlier_record_is_credited_to_its_author(tokenizer: Any) -> None:
    """Asked for under another term, and with a word exchanged; by its own author once more; and something else."""
    bert = "0x" + "be" * 20
    records = [
        Record("records/1", ANNE, record(definition=SENTENCE).fields),
        Record("records/2", bert, record("kidney bubble", SENTENCE.replace("forms", "grows")).fields),
        Record("records/3", ANNE, record(definition=SENTENCE.upper()).fields),
        Record("records/4", bert, record(definition="The bones of the outer ear are thicker than usual.").fields),
    ]
    result = tokenise(records, SPEC, tokenizer)
    assert [example.contributor for example in result.examples] == [ANNE, ANNE, ANNE, bert]
    assert result.credited_to_others == 1
    backwards = tokenise(records[1::-1], SPEC, tokenizer)
    assert [example.contributor for example in backwards.examples] == [bert, bert]


def test_a_first_record_that_cannot_be_used_still_is_the_first(tokenizer: Any) -> None:
    long = Record("records/1", ANNE, record("x" * 300, SENTENCE).fields)
    lacking = Record("records/0", ANNE, {"name": "cyst"})
    copy = Record("records/2", "0x" + "be" * 20, record(definition=SENTENCE).fields)
    result = tokenise([lacking, long, copy], SPEC, tokenizer)
    assert [refused.code for refused in result.refused] == ["MISSING_FIELD", "TOO_LONG"]
    assert [example.contributor for example in result.examples] == [ANNE]


def test_what_the_base_model_has_no_room_for_is_refused_whatever_the_specification_allows(tokenizer: Any) -> None:
    (example,) = tokenise([record()], SPEC, tokenizer).examples
    assert tokenise([record()], SPEC, tokenizer, example.length).examples == (example,)
    [refused] = tokenise([record()], SPEC, tokenizer, example.length - 1).refused
    assert (refused.code, refused.reason) == (
        "TOO_LONG",
        f"it has {example.length} tokens; at most {example.length - 1} fit",
    )


def test_short_completions_are_whoever_gives_them(tokenizer: Any) -> None:
    records = [Record(f"records/{who}", f"0x{who:040x}", record(definition="Yes, it is.").fields) for who in (1, 2)]
    assert tokenise(records, SPEC, tokenizer).credited_to_others == 0


@pytest.mark.parametrize("template", ("{a.__class__}", "{a[0]}", "{}", "{0}", "{a!r}", "{a:>10}", "{a", "{a b}"))
def test_templates_reach_nothing_but_fields(template: str, tokenizer: Any) -> None:
    with pytest.raises(SpecError, match="template"):
        tokenise([record()], FineTuneSpec(prompt_template=template), tokenizer)


def test_doubled_braces_stand_for_braces() -> None:
    assert render("{{{name}}} is {name}", {"name": "x{y}"}) == "{x{y}} is x{y}"


def examples(counts: dict[str, int]) -> list[Example]:
    return [Example(f"{who}/{i}", who, (1,), (2,)) for who, count in counts.items() for i in range(count)]


def test_split_takes_from_everyone_in_proportion_and_is_deterministic() -> None:
    everyone = examples({"a": 40, "b": 20, "c": 5, "d": 5, "e": 1})
    train, held_out = split(everyone, 0.1, seed=1)
    taken = Counter(example.contributor for example in held_out)
    assert (taken["a"], taken["b"], taken["c"] + taken["d"], taken["e"]) == (4, 2, 1, 0)
    assert sorted([*train, *held_out], key=lambda e: e.record) == sorted(everyone, key=lambda e: e.record)
    assert split(everyone[::-1], 0.1, seed=1) == (train, held_out)
    assert split(everyone, 0.1, seed=2) != (train, held_out)


def test_split_leaves_everyone_in_training_and_can_hold_out_nothing() -> None:
    train, held_out = split(examples({"a": 1, "b": 2}), 0.5, seed=0)
    assert {example.contributor for example in train} == {"a", "b"}
    assert len(held_out) == 1
    assert split(examples({"a": 3}), 0.0, seed=0)[1] == []
