"""What of a PEFT folder is brought, in which form; and what is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from openledger import imported
from openledger.imported import CONFIG, WEIGHTS
from openledger.influence.adapter_config import AdapterError

PEFT: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "base",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj", "up_proj"],
    "layers_to_transform": None,
    "bias": "none",
    "init_lora_weights": True,
    "megatron_core": "megatron.core",
    "qalora_group_size": 16,
    "rank_pattern": {},
}


def tensors(layers: tuple[int, ...] = (0, 1)) -> dict[str, np.ndarray]:
    name = "base_model.model.model.layers.{}.{}.lora_{}.weight"
    maps = [(layer, path) for layer in layers for path in ("self_attn.q_proj", "mlp.up_proj")]
    return {name.format(layer, path, part): np.ones((2, 2), np.float32) for layer, path in maps for part in "AB"}


def folder(root: Path, weights: dict[str, np.ndarray] | None = None, **changes: Any) -> Path:
    root.mkdir()
    (root / CONFIG).write_text(json.dumps(PEFT | changes))
    save_file(tensors() if weights is None else weights, root / WEIGHTS)
    return root


def test_layers_and_maps_are_taken_from_the_weights_and_the_rest_is_as_peft_wrote_it(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    imported.gather(folder(tmp_path / "peft", target_modules="all-linear"), target)
    config, index = imported.read(target)
    assert (config.layers, config.target_modules, config.rank, config.alpha) == ((0, 1), ("q_proj", "up_proj"), 2, 4)
    assert [parameter.name for parameter in index.header.parameters] == sorted(tensors())
    assert (index.header.rows, index.header.contributors) == (0, ())
    assert (target / WEIGHTS).read_bytes() == (tmp_path / "peft" / WEIGHTS).read_bytes()
    assert sorted(path.name for path in target.iterdir()) == [CONFIG, WEIGHTS]


def test_what_is_brought_is_brought_again_byte_for_byte(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    imported.gather(folder(tmp_path / "peft"), first)
    imported.gather(first, second)
    assert (first / CONFIG).read_bytes() == (second / CONFIG).read_bytes()


def _unlike(name: str) -> dict[str, np.ndarray]:
    return {key: value for key, value in tensors().items() if name not in key}


@pytest.mark.parametrize(
    ("changes", "words"),
    (
        ({"peft_type": "IA3"}, "not a LoRA configuration"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is set"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern is set"),
        ({"a_switch_of_tomorrow": True}, "a_switch_of_tomorrow is set"),
        ({"lora_bias": True}, "lora_bias is set"),
        ({"bias": "all"}, "bias"),
        ({"init_lora_weights": "pissa"}, "changes the base model's weights"),
        ({"r": "many"}, "r must be a whole number"),
        ({"lora_alpha": -1}, "lora_alpha"),
        ({"use_dora": "yes"}, "use_dora"),
        ({"weights": {}}, "holds no weights"),
        ({"weights": {"embed.weight": np.ones(2)}}, "embed.weight is not a LoRA weight"),
        ({"weights": _unlike("1.mlp")}, "layer 1 has no up_proj"),
    ),
)
def test_what_is_not_computed_exactly_is_refused_by_name(tmp_path, changes, words):
    with pytest.raises(AdapterError, match=words):
        imported.gather(folder(tmp_path / "peft", **changes), _made(tmp_path / "target"))


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def _linked(name: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / name).rename(root.parent / "elsewhere")
        (root / name).symlink_to(root.parent / "elsewhere")

    return spoil


def _pickle(root: Path) -> None:
    (root / WEIGHTS).unlink()
    (root / "adapter_model.bin").write_bytes(b"\x80\x04.")


def _no_file(root: Path) -> None:
    (root / WEIGHTS).unlink()
    (root / WEIGHTS).mkdir()


SPOILERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights that are a link": (_linked(WEIGHTS), f"{WEIGHTS} is a symbolic link"),
    "a configuration that is a link": (_linked(CONFIG), f"{CONFIG} is a symbolic link"),
    "a pickle": (_pickle, "adapter_model.bin is a pickle"),
    "a pickle by another name": (lambda f: (f / WEIGHTS).write_bytes(b"\x80\x04." * 9), "not a whole safetensors file"),
    "cut short": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-1]), "not a whole safetensors"),
    "a folder in its place": (_no_file, "no plain file"),
    "no configuration": (lambda f: (f / CONFIG).unlink(), f"there is no {CONFIG}"),
    "not JSON": (lambda f: (f / CONFIG).write_bytes(b"\xff"), "is not JSON"),
    "nested without end": (lambda f: (f / CONFIG).write_text("[" * 100_000), "is not JSON"),
    "a list": (lambda f: (f / CONFIG).write_text("[]"), "is not a JSON object"),
    "too large": (lambda f: (f / CONFIG).write_bytes(b" " * (2**20 + 1)), "is larger than"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILERS.values(), ids=SPOILERS)
def test_what_is_no_sound_folder_is_refused_in_words(tmp_path, spoil, words):
    source = folder(tmp_path / "peft")
    spoil(source)
    with pytest.raises(AdapterError, match=words):
        imported.gather(source, _made(tmp_path / "target"))


def test_a_configuration_in_another_form_is_not_read(tmp_path):
    source = folder(tmp_path / "peft")
    with pytest.raises(AdapterError, match="not in the form"):
        imported.read(source)
