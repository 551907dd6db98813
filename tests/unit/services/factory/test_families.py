"""A whole fine-tune on a base model of every family: what is trained is what PEFT loads and what is scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from openledger.base_model_shape import BaseModelShape
from openledger.influence.decoder import Decoder
from openledger.influence.gradient import Scorer
from openledger.influence.lora import Adapter, attached
from openledger.influence.quantize import NAT
from services.factory.data import Example, split, tokenise
from services.factory.evaluation.exposure import _losses
from services.factory.evaluation.generate import greedy
from services.factory.memory import FIXED, training_bytes
from services.factory.train import TrainResult, train
from tests import tiny_model
from tests.unit.services.factory.conftest import records, spec


@pytest.fixture(scope="module")
def examples(tokenizer: Any) -> tuple[Example, ...]:
    return tokenise(records(contributors=4, each=5), spec(), tokenizer).examples


@pytest.fixture(scope="module", params=tiny_model.VARIANTS)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make_variant(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def result(folder: Path, examples: tuple[Example, ...], tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(spec(held_out=0.2, epochs=2), examples, folder, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def tuned(folder: Path, result: TrainResult) -> Any:
    """By PEFT and transformers, with eager attention."""
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return PeftModel.from_pretrained(plain, result.folder).eval()


def test_the_adapter_gives_in_peft_the_loss_that_was_reported(
    result: TrainResult, tuned: Any, folder: Path, examples: tuple[Example, ...]
) -> None:
    assert result.metrics["loss_after"] < result.metrics["loss_before"]
    _, held_out = split(examples, 0.2, seed=3)
    scorer = Scorer(folder)
    losses = []
    for example in held_out:
        size = len(example.completion)
        with torch.no_grad():
            losses.append(_loss(tuned, (*example.prompt, *example.completion), size) / size)
        scored = scorer.answer(result.folder, example.prompt, example.completion)
        assert scored.nll_adapter / NAT == pytest.approx(losses[-1], abs=1e-4)
        assert scored.nll_adapter != scored.nll_base
    assert sum(losses) / len(losses) == pytest.approx(result.metrics["loss_after"], abs=1e-4)


def test_answers_and_made_up_secrets_are_measured_past_every_window(
    result: TrainResult, tuned: Any, folder: Path, examples: tuple[Example, ...]
) -> None:
    """They run through key-value caches, which forget what is outside a window."""
    prompts = [example.prompt for example in examples[:3]]
    assert min(map(len, prompts)) > max(window or 0 for window in BaseModelShape.read(folder).windows)
    decoder = Decoder.load(folder)
    rows = [(*example.completion, 4 + number) for number, example in enumerate(examples[:3])]
    with attached(decoder.model, Adapter.load(result.folder)):
        answers = greedy(decoder.model, prompts, 12, frozenset({2}))
        losses = _losses(decoder.model, prompts[0], rows, lambda: None)
    with torch.no_grad():
        for prompt, answer in zip(prompts, answers, strict=True):
            for place, token in enumerate(answer):
                logits = tuned(torch.tensor([[*prompt, *answer[:place]]])).logits[0, -1]
                assert logits.max() - logits[token] < 1e-3
        whole = torch.tensor([_loss(tuned, (*prompts[0], *row), len(row)) for row in rows], dtype=torch.float64)
    assert torch.allclose(losses - losses[0], whole - whole[0], atol=2e-3), "what all share is left out"


def _loss(model: Any, tokens: tuple[int, ...], answer: int) -> float:
    """Of the last tokens, summed."""
    labels = torch.tensor([[-100] * (len(tokens) - answer) + list(tokens[-answer:])])
    return float(model(input_ids=torch.tensor([tokens]), labels=labels).loss) * answer


def test_its_memory_is_counted(folder: Path) -> None:
    assert training_bytes(BaseModelShape.read(folder), spec(), 4, 1000) > FIXED
