from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from openledger.base_model_shape import BaseModelShape
from openledger.influence.decoder import Decoder
from openledger.influence.gradient import Scorer
from openledger.influence.quantize import NAT
from services.factory import nf4
from services.factory.data import Example, tokenise
from services.factory.memory import training_bytes
from services.factory.train import train
from tests.unit.services.factory.conftest import records, spec


def test_every_weight_becomes_the_nearest_level_of_its_block() -> None:
    weight = torch.randn(48, 31, generator=torch.Generator().manual_seed(0))
    weight.view(-1)[64:128] = 0.0
    packed, scales = nf4.pack(weight)
    assert (packed.dtype, len(packed), len(scales)) == (torch.uint8, 24 * 32, 24)
    got = nf4.unpack(packed, scales, weight.shape)
    flat, padded = weight.flatten(), got.flatten()
    for start in range(0, len(flat), nf4.BLOCK):
        block = flat[start : start + nf4.BLOCK]
        choices = nf4.LEVELS * block.abs().max()
        nearest = choices[(block[:, None] - choices).abs().argmin(1)]
        assert torch.equal(padded[start : start + nf4.BLOCK], nearest)
    assert 0.05 < float((got - weight).std() / weight.std()) < 0.12


def test_bytes_are_those_of_bitsandbytes() -> None:
    """Hash of what `bitsandbytes.functional.quantize_4bit(weight, quant_type="nf4")` of version 0.50.2 made of it."""
    weight = ((torch.arange(96 * 40) * 7919) % 1009 - 504).float().view(96, 40) / 512
    packed, scales = nf4.pack(weight)
    found = hashlib.sha256(packed.numpy().tobytes() + scales.numpy().tobytes()).hexdigest()
    assert found == "cc5b9af21d487dd580329a375a96fbc971472022183e575e2f73cfe3bee9387b"


@pytest.mark.parametrize("precision", (torch.float32, torch.bfloat16))
def test_a_packed_map_computes_and_differentiates_as_the_map_with_those_weights(precision: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    linear = nn.Linear(64, 96).requires_grad_(False)
    packed = nf4.Nf4Linear(linear)
    linear.weight.data = packed.unpacked()
    x = torch.randn(2, 5, 64, generator=generator, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        outputs = [each(x) for each in (packed, linear)]
        ours, theirs = (torch.autograd.grad(y.float().square().sum(), x)[0] for y in outputs)
    close = 1e-5 if precision == torch.float32 else 2e-2
    assert torch.allclose(outputs[0], outputs[1], rtol=close, atol=close)
    assert torch.allclose(ours, theirs, rtol=close, atol=10 * close)


def test_only_the_layers_maps_are_packed_and_they_take_an_eighth(base: Path) -> None:
    decoder = Decoder.load(base)
    before = sum(p.numel() for p in decoder.body.layers.parameters() if p.ndim == 2)
    head, embeddings = decoder.head.weight.clone(), decoder.body.embed_tokens.weight.clone()
    nf4.quantise(decoder)
    maps = [module for module in decoder.model.modules() if isinstance(module, nf4.Nf4Linear)]
    assert len(maps) == 7 * decoder.layers
    assert all(map_.weight.is_meta for map_ in maps)
    bits = 8 * sum(map_.packed.nbytes + map_.scales.nbytes for map_ in maps)
    assert bits == nf4.BITS * before
    assert torch.equal(decoder.head.weight, head)
    assert torch.equal(decoder.body.embed_tokens.weight, embeddings)


@pytest.fixture(scope="module")
def examples(tokenizer: Any) -> tuple[Example, ...]:
    return tokenise(records(contributors=4, each=5), spec(), tokenizer).examples


def test_a_run_on_a_packed_base_learns_and_is_scored_on_the_base_as_it_is(
    base: Path, examples: tuple[Example, ...], tmp_path: Path
) -> None:
    plain = train(spec(held_out=0.2), examples, base, tmp_path / "plain")
    packed = train(spec(held_out=0.2, quantise="nf4"), examples, base, tmp_path / "packed")
    assert packed.metrics["loss_after"] < packed.metrics["loss_before"] - 0.1
    assert packed.metrics["loss_before"] != plain.metrics["loss_before"], "of the packed base"
    assert packed.parameters == plain.parameters
    scorer = Scorer(base)
    question = examples[0]
    losses = [
        scorer.answer(result.folder, question.prompt, question.completion).nll_adapter / NAT
        for result in (plain, packed)
    ]
    assert losses[1] == pytest.approx(losses[0], abs=0.3)
    assert losses[1] < scorer.base_loss(question.prompt, question.completion) / NAT - 0.1


def test_the_same_run_gives_the_same_bytes(base: Path, examples: tuple[Example, ...], tmp_path: Path) -> None:
    one, other = (train(spec(quantise="nf4", epochs=1), examples, base, tmp_path / name) for name in "ab")
    assert one.index_root == other.index_root
    assert json.loads((one.folder / "metrics.json").read_bytes()) == other.metrics
    for file in one.files:
        assert (one.folder / file).read_bytes() == (other.folder / file).read_bytes()


def test_it_needs_less_memory(base: Path) -> None:
    shape = BaseModelShape.read(base)
    saved = training_bytes(shape, spec(), 4, 1000) - training_bytes(shape, spec(quantise="nf4"), 4, 1000)
    assert saved == shape.parameters(head=False) * (32 - nf4.BITS) / 8
