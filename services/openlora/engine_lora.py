"""LoRA and DoRA by forward hooks on the linear maps that an adapter has weights for: g (y + scale B A x).

Adapters change between two forward passes by changing one reference, where PEFT walks over the whole model; PEFT is
what tests/contract/engine compares the results with. What it does not know: whether an adapter fits the model, which
engine_adapters.py has checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.openlora.engine import AdapterRejected

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class MapWeights:
    """What an adapter does to one linear map, in float32."""

    a: torch.Tensor
    """[rank, in]"""
    b: torch.Tensor
    """[out, rank], times alpha / rank (or its root)."""
    gain: torch.Tensor | None = None
    """[out], DoRA's magnitudes over the lengths of the rows of W + B A; LoRA has none."""


AdapterWeights = dict[str, MapWeights]
"""By the linear map's module name."""


class LoraHooks:
    """Hooks on every linear map of a model, doing nothing until an adapter is applied. For one thread at a time."""

    def __init__(self, model: Any) -> None:
        import torch

        self._weights: AdapterWeights = {}
        self._maps = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
        for name, module in self._maps.items():
            module.register_forward_hook(self._hook(name))

    def read(self, path: Path) -> AdapterWeights:
        """Read a PEFT folder that was checked.

        Raises:
            AdapterRejected: it is a DoRA adapter that leaves a row of a map without a length.
        """
        from safetensors.torch import load_file

        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
        files = load_file(path / "adapter_model.safetensors")
        tensors = {key.removeprefix("base_model.model."): tensor.float() for key, tensor in files.items()}
        weights: AdapterWeights = {}
        for module in sorted({key.rpartition(".lora_")[0] for key in tensors}):
            a, b = tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"] * scale
            weights[module] = MapWeights(a, b, self._gain(module, a, b, tensors.get(f"{module}.lora_magnitude_vector")))
        return weights

    @contextmanager
    def applied(self, weights: AdapterWeights | None) -> Iterator[None]:
        """Within: the model answers with this adapter; None is the base model."""
        self._weights = weights or {}
        try:
            yield
        finally:
            self._weights = {}

    def _gain(
        self, module: str, a: torch.Tensor, b: torch.Tensor, magnitude: torch.Tensor | None
    ) -> torch.Tensor | None:
        import torch

        if magnitude is None:
            return None
        norm = torch.linalg.vector_norm(self._maps[module].weight.detach() + b @ a, dim=1)
        if not bool((norm > 0).all()):
            raise AdapterRejected(f"{module} has a row of zeros, which gives DoRA no direction")
        gain: torch.Tensor = magnitude / norm
        return gain

    def _hook(self, name: str) -> Any:
        def add(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            found = self._weights.get(name)
            if found is None:
                return output
            tuned = output + (inputs[0] @ found.a.T) @ found.b.T
            if found.gain is None:
                return tuned
            bias = 0.0 if module.bias is None else module.bias
            return (tuned - bias) * found.gain + bias

        return add
