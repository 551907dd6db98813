"""LoRA by forward hooks: y + scale B A x on the linear maps that an adapter has weights for.

Adapters change between two forward passes by changing one reference, where PEFT walks over the whole model; PEFT is
what tests/contract/test_engine.py compares the results with. What it does not know: whether an adapter fits the model,
which engine_adapters.py has checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

AdapterWeights = dict[str, tuple["torch.Tensor", "torch.Tensor"]]
"""Per linear map's module name: A [rank, in], and B [out, rank] times alpha / rank (or its root); float32."""


def read_weights(path: Path) -> AdapterWeights:
    """Read a PEFT folder that was checked."""
    from safetensors.torch import load_file

    config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    tensors = {
        key.removeprefix("base_model.model."): t for key, t in load_file(path / "adapter_model.safetensors").items()
    }
    modules = sorted({key.removesuffix(".lora_A.weight") for key in tensors if key.endswith(".lora_A.weight")})
    return {
        module: (tensors[f"{module}.lora_A.weight"].float(), tensors[f"{module}.lora_B.weight"].float() * scale)
        for module in modules
    }


class LoraHooks:
    """Hooks on every linear map of a model, doing nothing until an adapter is applied. For one thread at a time."""

    def __init__(self, model: Any) -> None:
        import torch

        self._weights: AdapterWeights = {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(self._hook(name))

    @contextmanager
    def applied(self, weights: AdapterWeights | None) -> Iterator[None]:
        """Within: the model answers with this adapter; None is the base model."""
        self._weights = weights or {}
        try:
            yield
        finally:
            self._weights = {}

    def _hook(self, name: str) -> Any:
        def add(_module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            found = self._weights.get(name)
            if found is None:
                return output
            a, b = found
            return output + (inputs[0] @ a.T) @ b.T

        return add
