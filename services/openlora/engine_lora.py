"""LoRA and DoRA by forward hooks on the linear maps that an adapter has weights for: g (y + scale B A x).

Adapters change between two forward passes by changing one list, where PEFT walks over the whole model, and every row of
a batch may have its own; PEFT is what tests/contract/engine compares the results with. What it does not know: whether
an adapter fits the model, which engine_adapters.py has checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
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

        self._groups: list[tuple[AdapterWeights, torch.Tensor | None]] = []
        """Adapters, and the rows of the batch that each is for; None where it is for all."""
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
    def applied(self, weights: Sequence[AdapterWeights | None]) -> Iterator[None]:
        """Within: the model answers row n of a batch with weights[n]; None is the base model."""
        import torch

        adapters = {id(each): each for each in weights if each is not None}
        rows = {key: [row for row, each in enumerate(weights) if id(each) == key] for key in adapters}
        self._groups = [
            (adapter, None if len(rows[key]) == len(weights) else torch.tensor(rows[key]))
            for key, adapter in adapters.items()
        ]
        try:
            yield
        finally:
            self._groups = []

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
            for weights, rows in self._groups:
                found = weights.get(name)
                if found is None:
                    continue
                if rows is None:
                    return _tuned(module, found, inputs[0], output)
                tuned = _tuned(module, found, inputs[0].index_select(0, rows), output.index_select(0, rows))
                output = output.index_copy(0, rows, tuned)
            return output

        return add


def _tuned(module: Any, weights: MapWeights, inputs: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    tuned = output + (inputs @ weights.a.T) @ weights.b.T
    if weights.gain is None:
        return tuned
    bias = 0.0 if module.bias is None else module.bias
    result: torch.Tensor = (tuned - bias) * weights.gain + bias
    return result
