"""``adapter_config.json`` of a LoRA adapter, as PEFT and vLLM read it, without either of them and without torch.

Refuses what ``lora`` would not compute exactly: biases, ranks per module. It reads no files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

ALL_LINEAR = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
MAX_RANK = 512
PLAIN = {"bias": "none", "fan_in_fan_out": False}
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
    rslora: bool = False
    """Scale by alpha / sqrt(rank) (Kalajdzievski, arXiv:2312.03732) and not by alpha / rank."""
    dora: bool = False
    """Give every row a magnitude of its own (weight-decomposed LoRA, arXiv:2402.09353): see ``dora``."""

    @property
    def scaling(self) -> float:
        """What the product of the two factors is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

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
            "use_dora": self.dora,
            "use_rslora": self.rslora,
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
        rslora, dora = _switch(data, "use_rslora"), _switch(data, "use_dora")
        return cls(str(data.get("base_model_name_or_path")), rank, alpha, targets, layers, rslora, dora)


def _switch(data: dict[str, Any], field: str) -> bool:
    value = data.get(field, False)
    if type(value) is not bool:
        raise AdapterError(f"adapter_config.json: {field} must be true or false, got {value!r}")
    return value


def _distinct(data: dict[str, Any], field: str, kind: type) -> tuple[Any, ...]:
    values = data.get(field)
    if not isinstance(values, list) or not values or not all(type(value) is kind for value in values):
        raise AdapterError(f"adapter_config.json: {field} must be a list, not empty")
    return tuple(sorted(set(values)))
