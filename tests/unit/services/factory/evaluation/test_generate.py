from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached
from services.factory.data import Example
from services.factory.evaluation import generate
from services.factory.evaluation.generate import control_ids, greedy

NEW = 12


def plain(decoder: Decoder, prompt: tuple[int, ...], ends: frozenset[int]) -> tuple[int, ...]:
    """Greedy decoding without cache or padding."""
    ids = list(prompt)
    for _ in range(NEW):
        with torch.no_grad():
            token = int(decoder.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if token in ends:
            break
        ids.append(token)
    return tuple(ids[len(prompt) :])


def test_answers_are_those_of_one_prompt_at_a_time(
    decoder: Decoder, adapter: Adapter, examples: tuple[Example, ...], tokenizer: Any
) -> None:
    prompts = [example.prompt[k % 7 :] for k, example in enumerate(examples[:9])]
    ends = control_ids(tokenizer)
    with attached(decoder.model, adapter):
        tuned = greedy(decoder.model, prompts, NEW, ends)
        assert tuned == [plain(decoder, prompt, ends) for prompt in prompts]
    assert tuned != greedy(decoder.model, prompts, NEW, ends)
    assert len({len(prompt) for prompt in prompts}) > 1


def test_answers_that_end_leave_the_others_as_they_were(
    decoder: Decoder, adapter: Adapter, examples: tuple[Example, ...]
) -> None:
    prompts = [example.prompt[k % 7 :] for k, example in enumerate(examples)]
    with attached(decoder.model, adapter):
        free = greedy(decoder.model, prompts, NEW, frozenset())
        ends = frozenset({free[0][2], free[1][5]})
        ended = greedy(decoder.model, prompts, NEW, ends)
        assert ended == [plain(decoder, prompt, ends) for prompt in prompts]
    assert len({len(answer) for answer in ended}) > 2


def test_large_groups_are_cut_into_batches(decoder: Decoder, examples: tuple[Example, ...], monkeypatch: Any) -> None:
    prompts = [example.prompt for example in examples]
    whole = greedy(decoder.model, prompts, 4, frozenset())
    monkeypatch.setattr(generate, "CACHE_TOKENS", 100)
    assert greedy(decoder.model, prompts, 4, frozenset()) == whole


def test_an_answer_ends_before_a_control_sign(decoder: Decoder, examples: tuple[Example, ...]) -> None:
    prompt = examples[0].prompt
    (free,) = greedy(decoder.model, [prompt], NEW, frozenset())
    assert len(free) == NEW
    end = free[5]
    (ended,) = greedy(decoder.model, [prompt], NEW, frozenset({end}))
    assert ended == free[: free.index(end)]


def test_nothing_is_asked_or_nothing_may_be_said(decoder: Decoder, examples: tuple[Example, ...]) -> None:
    assert greedy(decoder.model, [], NEW, frozenset()) == []
    assert greedy(decoder.model, [examples[0].prompt] * 2, 0, frozenset()) == [(), ()]


def test_a_model_without_a_finite_prediction_says_nothing() -> None:
    def broken(input_ids: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(logits=torch.full((len(input_ids), 1, 5), torch.nan), past_key_values=None)

    assert greedy(broken, [(1, 2)], NEW, frozenset()) == [()]


def test_control_signs_are_the_tokenizers_special_tokens(tokenizer: Any) -> None:
    assert control_ids(tokenizer) == {0, 1, 2}
