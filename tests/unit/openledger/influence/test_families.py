"""Every family of base models against transformers, with its eager attention, and against PEFT's gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn import functional
from transformers import AutoModelForCausalLM

from openledger.base_model_shape import FAMILIES, BaseModelShape
from openledger.influence.decoder import Decoder
from openledger.influence.gradient import Scorer
from openledger.influence.lora import Adapter, attached
from openledger.influence.quantize import NAT
from tests import tiny_model
from tests.unit.openledger.influence.conftest import CONFIG, write

LONG = 20
"""Tokens: more than any window of `tiny_model.VARIANTS`."""


@pytest.fixture(scope="module", params=tiny_model.VARIANTS)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make_variant(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def decoder(folder: Path) -> Decoder:
    return Decoder.load(folder)


@pytest.fixture(scope="module")
def adapter_folder(decoder: Decoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = torch.Generator().manual_seed(5)
    fresh = Adapter.initialise(CONFIG, decoder.model, generator)
    tensors = {name: torch.randn(tensor.shape, generator=generator) * 0.1 for name, tensor in fresh.tensors.items()}
    return write(Adapter(CONFIG, tensors), tmp_path_factory.mktemp("adapter"))


def theirs(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def tokens(rows: int, length: int) -> torch.Tensor:
    return torch.randint(3, 259, (rows, length), generator=torch.Generator().manual_seed(length))


def ours(decoder: Decoder, ids: torch.Tensor, split: int) -> torch.Tensor:
    return decoder.head(decoder.upper(decoder.trunk(ids, split), split))


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """To float32 rounding, many layers deep."""
    return bool(torch.allclose(a, b, rtol=1e-4, atol=3e-5 * float(b.detach().abs().max())))


def test_there_is_a_variant_of_every_family() -> None:
    assert {name.split("-")[0] for name in tiny_model.VARIANTS} == set(FAMILIES)


def test_trunk_upper_layers_and_head_are_the_whole_model_wherever_it_is_cut(folder: Path, decoder: Decoder) -> None:
    model = theirs(folder)
    windows = {window for window in BaseModelShape.read(folder).windows if window}
    assert bool(windows) == ("windows" in str(folder) or "smollm3" in str(folder))
    with torch.no_grad():
        for length in {1, LONG, *windows, *(window + 1 for window in windows)}:
            ids = tokens(2, length)
            expected = model(ids).logits
            for split in range(decoder.layers + 1):
                assert close(ours(decoder, ids, split), expected), (length, split)


def test_what_is_padded_on_the_right_does_not_see_it(folder: Path, decoder: Decoder) -> None:
    lengths = (LONG, 11, 5)
    ids = tokens(3, LONG)
    real = torch.arange(LONG) < torch.tensor(lengths)[:, None]
    padded = torch.where(real, ids, 0)
    with torch.no_grad():
        expected = theirs(folder)(padded, attention_mask=real.long()).logits
        for split in (0, 2):
            assert close(ours(decoder, padded, split)[real], expected[real])


def test_gradients_of_the_adapters_weights_are_pefts(folder: Path, decoder: Decoder, adapter_folder: Path) -> None:
    ids, answer = tokens(1, LONG), 8
    peft = PeftModel.from_pretrained(theirs(folder), adapter_folder, is_trainable=True)
    weights = {name.replace(".default", ""): w for name, w in peft.named_parameters() if w.requires_grad}
    loss = functional.cross_entropy(peft(ids).logits[0, -answer - 1 : -1], ids[0, -answer:])
    expected = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    with attached(decoder.model, Adapter.load(adapter_folder)) as maps:
        mine = functional.cross_entropy(ours(decoder, ids, 2)[0, -answer - 1 : -1], ids[0, -answer:])
        gradients = torch.autograd.grad(mine, [linear.weight for linear in maps.values()])
    assert sorted(expected) == list(maps)
    assert all(close(gradient, expected[name]) for name, gradient in zip(maps, gradients, strict=True))
    assert mine.item() == pytest.approx(loss.item(), abs=1e-4)
    scored = Scorer(folder).answer(adapter_folder, ids[0, :-answer].tolist(), ids[0, -answer:].tolist())
    assert scored.nll_adapter / NAT == pytest.approx(loss.item(), abs=1e-4)


def test_its_sizes_are_read_as_they_are(folder: Path, decoder: Decoder) -> None:
    shape = BaseModelShape.read(folder)
    layer = decoder.body.layers[0]
    found = {
        path.rpartition(".")[2]: (linear.in_features, linear.out_features)
        for path, linear in layer.named_modules()
        if isinstance(linear, torch.nn.Linear)
    }
    assert shape.maps() == found
    matrices = {id(p): p.numel() for p in decoder.model.parameters() if p.ndim == 2}
    assert shape.parameters() == sum(matrices.values())
