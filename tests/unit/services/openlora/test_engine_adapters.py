"""What an adapter folder may hold; tests/contract/engine/test_adapters.py shows the same through engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from openledger.base_model_shape import BaseModelShape
from services.openlora.engine import AdapterRejected
from services.openlora.engine_adapters import check_adapter

SHAPE = BaseModelShape("llama", 1, 8, 16, 8, 8, 32, 64, tied=True, windows=(None,))
A = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
B = A.replace("lora_A", "lora_B")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
    save_file({A: torch.ones(2, 8), B: torch.ones(16, 2)}, tmp_path / "adapter_model.safetensors")
    return tmp_path


def check(folder: Path) -> None:
    check_adapter(folder, SHAPE, max_rank=4, dora=False)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float16, torch.bfloat16))
def test_floats_of_the_usual_sizes_are_taken(folder, dtype):
    save_file({A: torch.ones(2, 8, dtype=dtype), B: torch.ones(16, 2, dtype=dtype)}, _weights(folder))
    check(folder)


@pytest.mark.parametrize("dtype", (torch.float64, torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn))
def test_numbers_of_another_kind_are_refused_by_name(folder, dtype):
    save_file({A: torch.ones(2, 8), B: torch.ones(16, 2).to(dtype)}, _weights(folder))
    with pytest.raises(AdapterRejected, match=r"lora_B.weight holds \w+ values, taken are F32, F16, BF16"):
        check(folder)


def _weights(folder: Path) -> Path:
    return folder / "adapter_model.safetensors"


def _config(text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "adapter_config.json").write_text(text)


SPOILERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    # eth-account lets Python recurse so deep that a parser that does would take the process with it
    "nested without end": (_config("[" * 100_000), "nested more than"),
    "without end": (_config("{}" + " " * 2**20), "is larger than"),
    "a rank that is a truth": (_config('{"peft_type": "LORA", "r": true, "lora_alpha": 4}'), "rank True"),
    "an alpha that is one": (_config('{"peft_type": "LORA", "r": 2, "lora_alpha": true}'), "lora_alpha True"),
    "a pickle": (lambda f: torch.save({A: torch.ones(2, 8)}, _weights(f)), "not a whole safetensors file"),
    "a header without end": (
        lambda f: _weights(f).write_bytes((2**23 + 8).to_bytes(8, "little") + b"{}" + b" " * (2**23 + 6)),
        "names too many tensors",
    ),
    "no file": (lambda f: _weights(f).unlink(), "adapter_model.safetensors cannot be read"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILERS.values(), ids=SPOILERS)
def test_what_is_no_adapter_is_refused_in_words(folder, spoil, words):
    spoil(folder)
    with pytest.raises(AdapterRejected, match=words):
        check(folder)
