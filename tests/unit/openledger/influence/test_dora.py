"""DoRA against PEFT, its oracle; and its two gradients, the one that training follows and the loss' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.func import functional_call
from transformers import LlamaForCausalLM

from openledger.influence.adapter_config import AdapterConfig, AdapterError
from openledger.influence.coupling import blocks
from openledger.influence.decoder import Decoder
from openledger.influence.dora import MAGNITUDE, Decomposed
from openledger.influence.gradient import Scorer
from openledger.influence.lora import Adapter, attached, decomposed
from openledger.influence.parameters import Parameter
from openledger.influence.per_example import PerExampleGradients
from openledger.influence.quantize import NAT, agreement, quantise
from tests.unit.openledger.influence.conftest import CONFIG, DORA, write

IDS = torch.tensor([[1, 7, 9, 200, 31, 4]])
PROMPT, ANSWER = [1, 87, 85, 71, 84], [201, 74, 75, 2]


def logits(decoder: Decoder) -> Tensor:
    with torch.no_grad():
        return decoder.head(decoder.upper(decoder.trunk(IDS, 2), 2))


def plain(base: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")


def weights(peft: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """PEFT's trained weights by the names that they have in a file."""
    found = {n.replace(".default", ""): p for n, p in peft.named_parameters() if "lora_" in n}
    return {n.removesuffix(".weight") if MAGNITUDE in n else n: p for n, p in sorted(found.items())}


def loss(logits: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits[0, :-1], IDS[0, 1:])


def test_the_folder_loads_in_peft_with_the_same_logits(
    base: Path, decoder: Decoder, dora: Adapter, dora_folder: Path
) -> None:
    peft = PeftModel.from_pretrained(plain(base), dora_folder)
    with attached(decoder.model, dora):
        ours = logits(decoder)
    with torch.no_grad():
        assert torch.allclose(ours, peft(IDS).logits, atol=1e-5)
    without = Adapter(CONFIG, {n: t for n, t in dora.tensors.items() if MAGNITUDE not in n})
    with attached(decoder.model, without):
        assert not torch.allclose(ours, logits(decoder), atol=1e-2)


def test_what_peft_saves_is_what_we_read(base: Path, tmp_path: Path, decoder: Decoder) -> None:
    shape = LoraConfig(
        r=4, lora_alpha=8, target_modules=list(CONFIG.target_modules), layers_to_transform=[2, 3], use_dora=True
    )
    peft = get_peft_model(plain(base), shape)
    peft.save_pretrained(tmp_path)
    read = Adapter.load(tmp_path)
    assert read.config.dora
    assert AdapterConfig.from_json(read.config.to_json()) == read.config
    fresh = Adapter.initialise(DORA, decoder.model, torch.Generator().manual_seed(0))
    assert read.parameters == fresh.parameters
    for name, tensor in read.tensors.items():
        if "lora_A" not in name:
            assert torch.allclose(tensor, fresh.tensors[name], rtol=1e-6)


def test_gradients_and_steps_of_adamw_are_pefts(base: Path, decoder: Decoder, dora: Adapter, dora_folder: Path) -> None:
    peft = PeftModel.from_pretrained(plain(base), dora_folder, is_trainable=True)
    theirs = weights(peft)
    mine = Adapter(dora.config, {name: tensor.clone() for name, tensor in dora.tensors.items()})
    with attached(decoder.model, mine) as maps:
        assert list(maps) == list(theirs)
        ours = {name: linear.weight for name, linear in maps.items()}
        optimizers = [torch.optim.AdamW(list(each.values()), lr=0.01) for each in (ours, theirs)]
        for _ in range(4):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss(decoder.head(decoder.upper(decoder.trunk(IDS, 2), 2))).backward()
            loss(peft(IDS).logits).backward()
            for one, other in zip(ours.values(), theirs.values(), strict=True):
                assert one.grad is not None
                assert other.grad is not None
                assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-6)
            for optimizer in optimizers:
                optimizer.step()
    for name, parameter in theirs.items():
        assert torch.allclose(mine.tensors[name], parameter, atol=1e-4)
        assert not torch.allclose(mine.tensors[name], dora.tensors[name], atol=1e-3)


def test_a_fresh_adapter_changes_not_a_bit_and_the_base_is_restored(decoder: Decoder) -> None:
    before, modules = logits(decoder), [name for name, _ in decoder.model.named_modules()]
    fresh = Adapter.initialise(DORA, decoder.model, torch.Generator().manual_seed(0))
    with attached(decoder.model, fresh):
        assert torch.equal(logits(decoder), before)
    assert torch.equal(logits(decoder), before)
    assert [name for name, _ in decoder.model.named_modules()] == modules


def test_its_factors_start_as_loras_do(decoder: Decoder) -> None:
    fresh, lora = (Adapter.initialise(c, decoder.model, torch.Generator().manual_seed(0)) for c in (DORA, CONFIG))
    assert all(torch.equal(fresh.tensors[name], tensor) for name, tensor in lora.tensors.items())


def test_each_row_is_the_plain_gradient_of_its_example(decoder: Decoder, dora: Adapter) -> None:
    ids = torch.randint(0, 260, (3, 11), generator=torch.Generator().manual_seed(1))
    with attached(decoder.model, dora) as maps, PerExampleGradients(maps) as taps:
        losses = decoder.head(decoder.upper(decoder.trunk(ids, 2), 2)).square().mean((1, 2))
        rows = taps.gradients(losses.sum(), keep_graph=True)
        parts = [linear.weight for linear in maps.values()]
        plainly = [torch.autograd.grad(each, parts, retain_graph=True) for each in losses]
    assert taps.parameters == dora.parameters
    for row, gradients in zip(rows, plainly, strict=True):
        expected = torch.cat([gradient.flatten() for gradient in gradients])
        assert torch.allclose(row, expected, rtol=1e-4, atol=1e-6)


def test_bfloat16_products_stay_bfloat16(decoder: Decoder, dora: Adapter) -> None:
    path = "model.layers.2.mlp.up_proj"
    with attached(decoder.model, dora), torch.no_grad():
        layer, x = decoder.model.get_submodule(path), torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(2))
        exact = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = layer(x)
    assert rough.dtype == torch.bfloat16
    assert torch.allclose(rough.float(), exact, rtol=0.05, atol=0.05)


def test_lengths_are_taken_in_float32_whatever_is_around(decoder: Decoder, dora: Adapter) -> None:
    first = decomposed(decoder.model, dora)[0]
    with torch.autocast("cpu", torch.bfloat16):
        within = first.norm()
    assert torch.equal(within, first.norm())


# --- what is refused --------------------------------------------------------------------------------------------------


def magnitude_of(adapter: Adapter) -> str:
    return next(name for name in sorted(adapter.tensors) if MAGNITUDE in name)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    (
        (lambda t: None, "is absent, and should be of shape"),
        (lambda t: t[:-1], "and should be of shape"),
        (lambda t: t[:, None], "and should be of shape"),
        (lambda t: torch.where(torch.arange(len(t)) == 3, 0.0, t), "holds a zero"),
    ),
    ids=("missing", "short", "a column", "zero row"),
)
def test_bad_magnitudes_are_refused_by_name(
    decoder: Decoder, dora: Adapter, spoil: Callable[[Tensor], Tensor | None], reason: str
) -> None:
    name = magnitude_of(dora)
    tensors, spoilt = dict(dora.tensors), spoil(dora.tensors[name])
    del tensors[name]
    tensors |= {} if spoilt is None else {name: spoilt}
    with pytest.raises(AdapterError, match=f"{name}.*{reason}"), attached(decoder.model, Adapter(DORA, tensors)):
        pass


def test_magnitudes_that_are_no_numbers_are_refused_when_read(dora: Adapter, tmp_path: Path) -> None:
    name = magnitude_of(dora)
    folder = write(dora, tmp_path)
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors[name][2] = float("nan")
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=f"{name}.*not finite"):
        Adapter.load(folder)


def test_magnitudes_without_dora_are_refused_by_name(decoder: Decoder, dora: Adapter) -> None:
    with pytest.raises(AdapterError, match=magnitude_of(dora)), attached(decoder.model, Adapter(CONFIG, dora.tensors)):
        pass


def test_a_row_of_zeros_in_the_base_is_refused_by_name(base: Path) -> None:
    decoder = Decoder.load(base)
    decoder.model.get_submodule("model.layers.2.mlp.up_proj").weight[5] = 0.0
    fresh = Adapter.initialise(DORA, decoder.model, torch.Generator().manual_seed(0))
    with (
        pytest.raises(AdapterError, match=r"layers\.2\.mlp\.up_proj has a row of zeros"),
        attached(decoder.model, fresh),
    ):
        pass
    kept = tuple(module for module in DORA.target_modules if module != "up_proj")
    fewer = AdapterConfig(DORA.base, DORA.rank, DORA.alpha, kept, DORA.layers, dora=True)
    with attached(decoder.model, Adapter.initialise(fewer, decoder.model, torch.Generator().manual_seed(0))):
        pass


@pytest.mark.parametrize("layout", ("no magnitude", "another's magnitude", "wrong size"))
def test_blocks_are_factors_and_magnitude(layout: str) -> None:
    whole = [
        Parameter(f"m{k}", s) for k, s in ((".lora_A.weight", (2, 4)), (".lora_B.weight", (3, 2)), (MAGNITUDE, (3,)))
    ]
    assert blocks([*whole, *(Parameter(p.name.replace("m", "n", 1), p.shape) for p in whole)]) == [17, 17]
    other = {
        "no magnitude": [*whole, *whole[:2]],
        "another's magnitude": [*whole[:2], Parameter(f"n{MAGNITUDE}", (3,))],
        "wrong size": [*whole[:2], Parameter(f"m{MAGNITUDE}", (4,))],
    }[layout]
    with pytest.raises(ValueError, match="factors"):
        blocks(other)


# --- the loss' gradient -----------------------------------------------------------------------------------------------


def moving(model: torch.nn.Module, whole: list[Decomposed], ids: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits of the DoRA model by plain autograd, nothing taken as constant; and the leaves A, B, m of each map."""
    names = {id(p): name for name, p in model.named_parameters()}
    found = {p.data_ptr(): names[id(p)] for p in model.parameters()}
    leaves, replaced = [], {}
    for map_ in whole:
        a, b, m = (t.detach().clone().requires_grad_() for t in (map_.a, map_.b, map_.magnitude))
        v = map_.weight + map_.scaling * (b @ a)
        replaced[found[map_.weight.data_ptr()]] = (m / v.norm(dim=1))[:, None] * v
        leaves += [a, b, m]
    return functional_call(model, replaced, (ids,)).logits, leaves


def test_a_score_is_made_of_the_loss_gradient_and_not_of_the_field(
    base: Path, decoder: Decoder, dora: Adapter, dora_folder: Path
) -> None:
    ids = torch.tensor([PROMPT + ANSWER])
    predicted, leaves = moving(decoder.model, decomposed(decoder.model, dora), ids)
    true = torch.nn.functional.cross_entropy(predicted[0, len(PROMPT) - 1 : -1], torch.tensor(ANSWER))
    gradients = torch.autograd.grad(true, leaves)
    expected = quantise(torch.cat([g.flatten() for g in gradients]).numpy(), [g.numel() for g in gradients])
    scorer = Scorer(base)
    result = scorer.answer(dora_folder, PROMPT, ANSWER)
    assert scorer.parameters(dora_folder) == dora.parameters
    assert agreement(result.gradient, expected) == 1.0
    assert result.nll_adapter / NAT == pytest.approx(true.item(), abs=1e-5)
    peft = PeftModel.from_pretrained(plain(base), dora_folder, is_trainable=True)
    detached = torch.nn.functional.cross_entropy(peft(ids).logits[0, len(PROMPT) - 1 : -1], torch.tensor(ANSWER))
    field = torch.autograd.grad(detached, list(weights(peft).values()))
    rough = quantise(torch.cat([g.flatten() for g in field]).numpy(), [g.numel() for g in field])
    assert agreement(result.gradient, rough) < 0.9


def test_two_scorers_agree_bit_for_bit(base: Path, dora_folder: Path) -> None:
    first, second = (Scorer(base).answer(dora_folder, PROMPT, ANSWER) for _ in range(2))
    assert first.gradient.to_bytes() == second.gradient.to_bytes()
