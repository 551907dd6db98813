"""Attribution through a combination against finite differences: the parents are moved, and combined densely in float64.

What is differentiated knows nothing of concatenated factors: each parent's B A is multiplied out and added to the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.nn import functional
from transformers import LlamaForCausalLM

from openledger import canonical
from openledger.influence import combination, index
from openledger.influence.adapter_config import ALL_LINEAR, AdapterConfig
from openledger.influence.combination import Parent
from openledger.influence.gradient import Scorer
from openledger.influence.lora import Adapter, attached
from openledger.influence.quantize import NAT
from openledger.influence.score import scores
from tests.combining import PEOPLE

PROMPT, ANSWER = [1, 87, 85, 71, 84], [201, 74, 75, 2]
CONFIGS = (
    AdapterConfig("tiny", 4, 8, ALL_LINEAR, (2, 3)),
    AdapterConfig("tiny", 2, 4, ALL_LINEAR, (2, 3)),
    AdapterConfig("tiny", 3, 5, ALL_LINEAR, (2, 3), rslora=True),
)
ANNE, BERT, CLEO = PEOPLE
IN = ((ANNE, BERT), (ANNE, CLEO), (CLEO,))
"""Who was in which parent's training: Anne and Cleo in two of them."""
STEP = 1e-2
"""Of the differences.  transformers takes norms in float32, so the loss is exact to some 1e-7."""


@pytest.fixture(scope="module")
def model(base) -> LlamaForCausalLM:
    found = LlamaForCausalLM.from_pretrained(base, dtype=torch.float64, attn_implementation="eager")
    return found.requires_grad_(False)


def made(decoder, weights_bps: Sequence[int]) -> list[Parent]:
    found = []
    for number, (config, weight) in enumerate(zip(CONFIGS, weights_bps, strict=False)):
        generator = torch.Generator().manual_seed(number)
        fresh = Adapter.initialise(config, decoder.model, generator)
        drawn = {n: (torch.randn(t.shape, generator=generator) * 0.1).numpy() for n, t in fresh.tensors.items()}
        found.append(Parent(f"p{number}", weight, config, drawn))
    return found


def displaced(parents: Sequence[Parent]) -> list[index.ContributionIndex]:
    """By how much each contributor moved each parent: some of the parent's own weights, and noise."""
    random, found = np.random.default_rng(5), []
    for parent, people in zip(parents, IN, strict=False):
        flat = np.concatenate([parent.tensors[p.name].reshape(-1) for p in parent.parameters])
        moved = {who: flat * random.uniform(0.5, 1.5) + random.normal(size=flat.size) / 50 for who in people}
        found.append(index.build(parent.parameters, moved))
    return found


def loss(model: LlamaForCausalLM) -> torch.Tensor:
    logits = model(torch.tensor([PROMPT + ANSWER])).logits[0]
    return functional.cross_entropy(logits[len(PROMPT) - 1 : -1], torch.tensor(ANSWER))


def dense_loss(model: LlamaForCausalLM, parents: Sequence[Parent], moved: Sequence[np.ndarray]) -> float:
    """Under base and weighted sum of the parents, each moved in its own parameters."""
    maps, kept = dict(model.named_modules()), {}
    for parent, by in zip(parents, moved, strict=True):
        pieces = np.split(by, np.cumsum([p.size for p in parent.parameters])[:-1])
        whole = {
            p.name: torch.from_numpy(parent.tensors[p.name].astype(float) + piece.reshape(p.shape))
            for p, piece in zip(parent.parameters, pieces, strict=True)
        }
        for name, a in whole.items():
            if "lora_A" in name:
                path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                weight = maps[path].weight
                kept.setdefault(path, weight.clone())
                scale = parent.weight_bps / 10_000 * parent.config.scaling
                weight += scale * (whole[name.replace("lora_A", "lora_B")] @ a)
    with torch.no_grad():
        found = float(loss(model))
    for path, weight in kept.items():
        maps[path].weight.copy_(weight)
    return found


def rise(model, parents: Sequence[Parent], indices: Sequence[index.ContributionIndex], who: str) -> float:
    """The directional derivative: by how much the loss rises when what somebody moved is taken back."""
    moves = [
        found.row(found.header.contributors.index(who)).to_float()
        if who in found.header.contributors
        else np.zeros(sum(found.header.sizes))
        for found in indices
    ]
    less, more = (dense_loss(model, parents, [sign * STEP * move for move in moves]) for sign in (-1, 1))
    return (less - more) / (2 * STEP)


@pytest.mark.parametrize(("weights_bps", "rounded"), (((5_000, 2_500), {ANNE}), ((7_000, 3_000, 11_000), set(PEOPLE))))
def test_scores_are_the_directional_derivatives_of_the_loss(model, decoder, weights_bps, rounded) -> None:
    """Exactly, up to rounding rows to int8 once more; of factors of two of who is in one parent not even that."""
    parents = made(decoder, weights_bps)
    indices = displaced(parents)
    found = combination.index(parents, indices)
    tensors = {name: torch.from_numpy(t.astype(float)) for name, t in combination.weights(parents).items()}
    adapter = Adapter(combination.config(parents), tensors)
    assert float(loss_with(model, adapter)) == pytest.approx(dense_loss(model, parents, zeros(indices)), abs=1e-7)
    with attached(model, adapter) as maps:
        gradients = torch.autograd.grad(loss(model), [linear.weight for linear in maps.values()])
    flat = np.concatenate([gradient.reshape(-1).numpy() for gradient in gradients])
    expected = {who: rise(model, parents, indices, who) for who in found.header.contributors}
    largest = max(map(abs, expected.values()))
    for row, who in enumerate(found.header.contributors):
        score = -float(found.row(row).to_float() @ flat)
        assert score == pytest.approx(expected[who], abs=(0.01 if who in rounded else 1e-4) * largest)
    assert min(map(abs, expected.values())) > 0.02 * largest, "each of them is seen"


def test_receipts_scores_are_too_up_to_their_quantised_gradient(model, decoder, base, tmp_path) -> None:
    parents = made(decoder, (7_000, 3_000))
    indices = displaced(parents)
    found = combination.index(parents, indices)
    (tmp_path / "adapter_config.json").write_bytes(canonical.dumps(combination.config(parents).to_json()))
    save_file(combination.weights(parents), tmp_path / "adapter_model.safetensors")
    scorer = Scorer(base)
    assert scorer.parameters(tmp_path) == found.header.parameters
    answer = scorer.answer(tmp_path, PROMPT, ANSWER)
    assert answer.nll_adapter / NAT == pytest.approx(dense_loss(model, parents, zeros(indices)), abs=1e-5)
    expected = {who: rise(model, parents, indices, who) for who in found.header.contributors}
    largest = max(map(abs, expected.values()))
    for who, score in scores(answer.gradient, found).contributors.items():
        assert score / NAT == pytest.approx(expected[who], abs=0.05 * largest)


def test_leaving_a_parent_out_is_taking_back_all_of_it(model, decoder) -> None:
    """Who made up a parent alone: its displacement being all of B, it is gone, and the others are what is left."""
    parents = made(decoder, (5_000, 5_000))
    second = parents[1]
    whole = np.concatenate(
        [second.tensors[p.name].reshape(-1) * ("lora_B" in p.name) for p in second.parameters]
    )  # fmt: skip
    indices = [index.build(parents[0].parameters, {}), index.build(second.parameters, {ANNE: whole})]
    found = combination.index(parents, indices)
    tensors = {n: torch.from_numpy(t.astype(float)) for n, t in combination.weights(parents).items()}
    less = Adapter(combination.config(parents), tensors).moved(torch.from_numpy(-found.row(0).to_float()))
    gone = replace(second, tensors={n: t * ("lora_A" in n) for n, t in second.tensors.items()})
    assert float(loss_with(model, less)) == pytest.approx(
        dense_loss(model, [parents[0], gone], zeros(indices)), abs=1e-3
    )


def loss_with(model: LlamaForCausalLM, adapter: Adapter) -> torch.Tensor:
    with attached(model, adapter), torch.no_grad():
        return loss(model)


def zeros(indices: Sequence[index.ContributionIndex]) -> list[np.ndarray]:
    return [np.zeros(sum(found.header.sizes)) for found in indices]
