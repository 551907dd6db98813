"""Rows that join and leave at any time have the logits that they would have alone, on every family of models."""

from __future__ import annotations

import random

import pytest
import torch

from services.openlora.engine_batch import Batch
from services.openlora.engine_lora import AdapterWeights, LoraHooks, MapWeights
from tests import tiny_model

FAMILIES = ("llama", "mistral-windows", "olmo2", "qwen2-windows", "qwen3-windows", "smollm3")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    from transformers import AutoModelForCausalLM

    base = tiny_model.make_variant(tmp_path_factory.mktemp("base"), request.param)
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def hooks(model):
    return LoraHooks(model)


def adapter(model, seed: int) -> AdapterWeights:
    random_ = torch.Generator().manual_seed(seed)
    return {
        name: MapWeights(
            torch.randn(2, module.in_features, generator=random_) / 8,
            torch.randn(module.out_features, 2, generator=random_) / 2,
        )
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.endswith(("q_proj", "up_proj"))
    }


def alone(model, hooks, tokens: list[int], weights: AdapterWeights | None) -> torch.Tensor:
    """Logits after a text, by one pass over the whole of it."""
    with torch.no_grad(), hooks.applied([weights]):
        return model(torch.tensor([tokens])).logits[0, -1]


def test_rows_that_come_and_go_are_as_if_alone(model, hooks):
    rng, batch = random.Random(3), Batch(model, hooks)
    adapters = [None, adapter(model, 1), adapter(model, 2)]
    texts: list[list[int]] = []
    weights: list[AdapterWeights | None] = []
    seen = set()
    for _ in range(40):
        if len(texts) < 5 and rng.random() < 0.5:
            texts.append([rng.randrange(3, 250) for _ in range(rng.choice((1, 3, 12, 30)))])
            weights.append(rng.choice(adapters))
            logits = batch.join(texts[-1], weights[-1])
            torch.testing.assert_close(logits, alone(model, hooks, texts[-1], weights[-1]), atol=2e-4, rtol=1e-4)
        if texts:
            tokens = [rng.randrange(3, 250) for _ in texts]
            texts = [[*text, token] for text, token in zip(texts, tokens, strict=True)]
            for row, logits in enumerate(batch.step(tokens)):
                expected = alone(model, hooks, texts[row], weights[row])
                torch.testing.assert_close(logits, expected, atol=2e-4, rtol=1e-4)
            seen.add(len(texts))
            kept = [row for row in range(len(texts)) if rng.random() < 0.8]
            batch.keep(kept)
            texts, weights = [texts[row] for row in kept], [weights[row] for row in kept]
    assert len(seen) > 3, "batches of several sizes were seen"


def test_a_row_that_is_no_number_is_nobody_elses_harm(model, hooks):
    batch, sound = Batch(model, hooks), adapter(model, 1)
    broken = {name: MapWeights(each.a, each.b * float("nan")) for name, each in sound.items()}
    batch.join([5, 6, 7], sound)
    assert bool(batch.join([8, 9, 10, 11, 12], broken).isnan().all())
    batch.join([13], None)
    logits = batch.step([20, 21, 22])
    assert bool(logits[1].isnan().all())
    torch.testing.assert_close(logits[0], alone(model, hooks, [5, 6, 7, 20], sound), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(logits[2], alone(model, hooks, [13, 22], None), atol=2e-4, rtol=1e-4)
    batch.keep([0, 2])
    assert not bool(batch.step([23, 24]).isnan().any())
