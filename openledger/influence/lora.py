"""LoRA adapters in PEFT's file layout, attached to a base model for the length of a ``with`` block.

An adapter is a value (configuration and tensors); a base model stays one object that many adapters take turns on, and
is untouched outside the block. Reads and writes ``adapter_config.json`` and ``adapter_model.safetensors`` such that
PEFT and vLLM load them. Refuses what it would not compute exactly (DoRA, rsLoRA, bias, per-module ranks). It knows
nothing of training or scoring.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from openledger.influence.parameters import Parameter, layout

ALL_LINEAR = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
MAX_RANK = 512
PREFIX = "base_model.model."
PLAIN = {"bias": "none", "use_dora": False, "use_rslora": False, "fan_in_fan_out": False}
ABSENT = ("rank_pattern", "alpha_pattern", "modules_to_save", "layer_replication", "target_parameters")


class AdapterError(ValueError):
    """An adapter's files are damaged, of an unsupported kind, or do not fit the base model."""


@dataclass(frozen=True)
class AdapterConfig:
    """What of ``adapter_config.json`` decides the computation. ``layers`` are indices into the decoder's layers."""

    base: str
    rank: int
    alpha: int | float
    target_modules: tuple[str, ...]
    layers: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """The file's content, as PEFT and vLLM read it."""
        return {
            "base_model_name_or_path": self.base,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "layers_to_transform": list(self.layers),
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": self.rank,
            "target_modules": list(self.target_modules),
            "task_type": "CAUSAL_LM",
            "use_dora": False,
            "use_rslora": False,
        }

    @classmethod
    def from_json(cls, data: Any) -> AdapterConfig:
        """Validate untrusted JSON. Raises AdapterError naming the field."""
        if not isinstance(data, dict) or data.get("peft_type") != "LORA":
            raise AdapterError("adapter_config.json is not a LoRA configuration (peft_type LORA)")
        for field, plain in PLAIN.items():
            if data.get(field, plain) != plain:
                raise AdapterError(f"adapter_config.json: {field}={data[field]!r} is not supported")
        for field in ABSENT:
            if data.get(field):
                raise AdapterError(f"adapter_config.json: {field} is not supported")
        rank, alpha = data.get("r"), data.get("lora_alpha")
        if type(rank) is not int or not 1 <= rank <= MAX_RANK:
            raise AdapterError(f"adapter_config.json: r must be a whole number from 1 to {MAX_RANK}, got {rank!r}")
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 2**20:
            raise AdapterError(f"adapter_config.json: lora_alpha must be a positive number, got {alpha!r}")
        targets, layers = _distinct(data, "target_modules", str), _distinct(data, "layers_to_transform", int)
        return cls(str(data.get("base_model_name_or_path")), rank, alpha, targets, layers)


def _distinct(data: dict[str, Any], field: str, kind: type) -> tuple[Any, ...]:
    values = data.get(field)
    if not isinstance(values, list) or not values or not all(type(value) is kind for value in values):
        raise AdapterError(f"adapter_config.json: {field} must be a list, not empty")
    return tuple(sorted(set(values)))


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA adapter: its configuration and its float32 tensors by PEFT name."""

    config: AdapterConfig
    tensors: Mapping[str, Tensor]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Layout of the adapter's parameter vector."""
        return layout({name: tensor.shape for name, tensor in self.tensors.items()})

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """Read a PEFT folder. Raises AdapterError for missing, damaged or non-finite content."""
        try:
            config = AdapterConfig.from_json(json.loads((folder / "adapter_config.json").read_bytes()))
            tensors = load_file(folder / "adapter_model.safetensors")
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, SafetensorError) as error:
            raise AdapterError(f"cannot read the adapter in {folder.name}: {error}") from error
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
                raise AdapterError(f"adapter tensor {name} holds values that are not finite numbers")
        return cls(config, {name: tensor.float() for name, tensor in tensors.items()})

    @classmethod
    def initialise(cls, config: AdapterConfig, model: nn.Module, generator: torch.Generator) -> Adapter:
        """A fresh adapter as PEFT starts it: A Kaiming-uniform, B zero, so that it changes nothing yet."""
        tensors: dict[str, Tensor] = {}
        for path, linear in sorted(_targets(model, config).items()):
            a, b = torch.empty(config.rank, linear.in_features), torch.zeros(linear.out_features, config.rank)
            nn.init.kaiming_uniform_(a, a=5**0.5, generator=generator)
            tensors |= {f"{PREFIX}{path}.lora_A.weight": a, f"{PREFIX}{path}.lora_B.weight": b}
        return cls(config, tensors)


class LoraLinear(nn.Module):
    """``base(x) + alpha / r * B A x``: the expression, and the order of operations, of PEFT's LoRA layer."""

    def __init__(self, base: nn.Linear, a: Tensor, b: Tensor, scaling: float) -> None:
        super().__init__()
        self.base_layer, self.scaling = base, scaling
        self.lora_A, self.lora_B = _linear(a), _linear(b)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        change: Tensor = self.lora_B(self.lora_A(x)) * self.scaling
        result: Tensor = self.base_layer(x) + change
        return result


def _linear(weight: Tensor) -> nn.Linear:
    """A bias-free linear map that *shares* the tensor, so that an optimizer's in-place update is seen by both."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight)
    return linear


@contextmanager
def attached(model: nn.Module, adapter: Adapter) -> Iterator[dict[str, nn.Linear]]:
    """Attach an adapter to a base model; yields its linear maps by PEFT tensor name, in vector order.

    The weights of these maps are the adapter's own tensors and require gradients. Raises AdapterError where the adapter
    does not fit the model. Not re-entrant: one adapter at a time.
    """
    targets = _targets(model, adapter.config)
    scaling = adapter.config.alpha / adapter.config.rank
    _check_shapes(adapter, targets)
    maps: dict[str, nn.Linear] = {}
    try:
        for path, linear in targets.items():
            a, b = f"{PREFIX}{path}.lora_A.weight", f"{PREFIX}{path}.lora_B.weight"
            lora = LoraLinear(linear, adapter.tensors[a], adapter.tensors[b], scaling)
            maps |= {a: lora.lora_A, b: lora.lora_B}
            model.set_submodule(path, lora)
        yield {name: maps[name] for name in sorted(maps)}
    finally:
        for path, linear in targets.items():
            model.set_submodule(path, linear)


def _targets(model: nn.Module, config: AdapterConfig) -> dict[str, nn.Linear]:
    """The linear maps of the model that the adapter applies to, by module path."""
    found = {}
    for path, module in model.named_modules():
        _, in_layers, rest = path.partition("layers.")
        layer, _, inner = rest.partition(".")
        if in_layers and int(layer) in config.layers and inner.rpartition(".")[2] in config.target_modules:
            if not isinstance(module, nn.Linear):
                raise AdapterError(f"{path} is not a linear map: another adapter is attached, or it cannot take LoRA")
            found[path] = module
    if len(found) != len(config.layers) * len(config.target_modules):
        raise AdapterError("the adapter names layers or modules that the base model does not have")
    return found


def _check_shapes(adapter: Adapter, targets: Mapping[str, nn.Linear]) -> None:
    rank = adapter.config.rank
    expected = {f"{PREFIX}{path}.lora_A.weight": (rank, linear.in_features) for path, linear in targets.items()}
    expected |= {f"{PREFIX}{path}.lora_B.weight": (linear.out_features, rank) for path, linear in targets.items()}
    if {name: tuple(tensor.shape) for name, tensor in adapter.tensors.items()} != expected:
        raise AdapterError("the adapter's tensors do not fit its configuration and the base model")
