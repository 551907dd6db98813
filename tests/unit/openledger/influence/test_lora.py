from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from openledger.influence.adapter_config import AdapterConfig, AdapterError
from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached

IDS = torch.tensor([[1, 7, 9, 200, 31, 4]])


def logits(decoder: Decoder) -> torch.Tensor:
    with torch.no_grad():
        return decoder.head(decoder.upper(decoder.trunk(IDS, 2), 2))


def test_trunk_and_upper_layers_make_the_whole_model(decoder: Decoder) -> None:
    with torch.no_grad():
        assert torch.allclose(logits(decoder), decoder.model(IDS).logits, atol=1e-5)


def test_padding_on_the_right_changes_nothing(decoder: Decoder) -> None:
    padded = torch.cat([IDS, torch.zeros(1, 5, dtype=torch.int64)], dim=1)
    with torch.no_grad():
        alone, longer = (decoder.upper(decoder.trunk(ids, 2), 2) for ids in (IDS, padded))
    assert torch.allclose(alone, longer[:, : IDS.shape[1]], atol=1e-5)


def test_the_folder_loads_in_peft_with_the_same_logits(
    base: Path, decoder: Decoder, adapter: Adapter, adapter_folder: Path
) -> None:
    peft = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32), adapter_folder)
    with attached(decoder.model, adapter):
        ours = logits(decoder)
    with torch.no_grad():
        assert torch.allclose(ours, peft(IDS).logits, atol=1e-5)
    assert not torch.allclose(ours, logits(decoder), atol=1e-2)


def test_a_fresh_adapter_changes_nothing_and_the_base_is_restored(decoder: Decoder, adapter: Adapter) -> None:
    before, modules = logits(decoder), [name for name, _ in decoder.model.named_modules()]
    fresh = Adapter.initialise(adapter.config, decoder.model, torch.Generator().manual_seed(0))
    with attached(decoder.model, fresh):
        assert torch.equal(logits(decoder), before)
    with pytest.raises(RuntimeError, match="halfway"), attached(decoder.model, adapter):
        raise RuntimeError("halfway")
    assert torch.equal(logits(decoder), before)
    assert [name for name, _ in decoder.model.named_modules()] == modules


def test_load_gives_back_what_was_written(adapter: Adapter, adapter_folder: Path) -> None:
    loaded = Adapter.load(adapter_folder)
    assert loaded.config == adapter.config
    assert loaded.parameters == adapter.parameters
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in adapter.tensors.items())


def test_one_adapter_at_a_time(decoder: Decoder, adapter: Adapter) -> None:
    with (
        attached(decoder.model, adapter),
        pytest.raises(AdapterError, match="another adapter is attached"),
        attached(decoder.model, adapter),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "reason"),
    (
        ({"peft_type": "IA3"}, "peft_type"),
        ({"use_dora": "yes"}, "use_dora"),
        ({"use_rslora": "yes"}, "use_rslora"),
        ({"bias": "all"}, "bias"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"r": 0}, "r must be"),
        ({"r": "8"}, "r must be"),
        ({"lora_alpha": -1}, "lora_alpha"),
        ({"lora_alpha": True}, "lora_alpha"),
        ({"target_modules": []}, "target_modules"),
        ({"layers_to_transform": ["2"]}, "layers_to_transform"),
    ),
)
def test_unsupported_configurations_are_refused(adapter: Adapter, change: dict[str, object], reason: str) -> None:
    with pytest.raises(AdapterError, match=reason):
        AdapterConfig.from_json(adapter.config.to_json() | change)


def test_adapters_that_do_not_fit_the_base_are_refused(decoder: Decoder, adapter: Adapter) -> None:
    absent = AdapterConfig("tiny", 4, 8, ("q_proj",), (3, 4))
    with pytest.raises(AdapterError, match="does not have"), attached(decoder.model, Adapter(absent, {})):
        pass
    name = adapter.parameters[0].name
    wrong = dict(adapter.tensors) | {name: torch.zeros(4, 5)}
    with pytest.raises(AdapterError, match="do not fit"), attached(decoder.model, Adapter(adapter.config, wrong)):
        pass


def test_damaged_folders_are_refused(adapter: Adapter, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="cannot read"):
        Adapter.load(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter.config.to_json()))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(AdapterError, match="cannot read"):
        Adapter.load(tmp_path)
    save_file({"x": torch.tensor([float("nan")])}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="not finite"):
        Adapter.load(tmp_path)
