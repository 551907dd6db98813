"""LoRA and DoRA adapters in PEFT's file layout, attached to a base model for the length of a ``with`` block.

An adapter is a value (configuration and tensors); a base model stays one object that many adapters take turns on, and
is untouched outside the block. It knows nothing of training or scoring.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from openledger.canonical import parse_json
from openledger.influence.adapter_config import AdapterConfig, AdapterError
from openledger.influence.dora import MAGNITUDE, Decomposed, Magnitude, row_lengths
from openledger.influence.parameters import Parameter, layout, sizes

__all__ = ["Adapter", "AdapterError", "DoraLinear", "LoraLinear", "attached", "decomposed"]

PREFIX = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA adapter: its configuration and its float32 tensors by PEFT name."""

    config: AdapterConfig
    tensors: Mapping[str, Tensor]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Layout of the adapter's parameter vector."""
        return layout({name: tensor.shape for name, tensor in self.tensors.items()})

    def moved(self, by: Tensor) -> Adapter:
        """The adapter whose parameter vector is this one's plus ``by`` [P]."""
        pieces = torch.split(by, list(sizes(self.parameters)))
        moves = {p.name: piece.view(p.shape) for p, piece in zip(self.parameters, pieces, strict=True)}
        return Adapter(self.config, {name: tensor + moves[name] for name, tensor in self.tensors.items()})

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """Read a PEFT folder. Raises AdapterError for missing, damaged or non-finite content."""
        try:
            config = AdapterConfig.from_json(parse_json((folder / "adapter_config.json").read_bytes()))
            tensors = load_file(folder / "adapter_model.safetensors")
        except AdapterError:
            raise
        except (OSError, ValueError, SafetensorError) as error:
            raise AdapterError(f"cannot read the adapter in {folder.name}: {error}") from error
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
                raise AdapterError(f"adapter tensor {name} holds values that are not finite numbers")
        return cls(config, {name: tensor.float() for name, tensor in tensors.items()})

    @classmethod
    def initialise(cls, config: AdapterConfig, model: nn.Module, generator: torch.Generator) -> Adapter:
        """A fresh adapter as PEFT starts it: A Kaiming-uniform, B zero, so that it changes nothing yet.

        DoRA's magnitudes are the lengths of the base's rows.
        """
        tensors: dict[str, Tensor] = {}
        for path, linear in sorted(_targets(model, config).items()):
            a, b = torch.empty(config.rank, linear.in_features), torch.zeros(linear.out_features, config.rank)
            nn.init.kaiming_uniform_(a, a=5**0.5, generator=generator)
            tensors |= {f"{PREFIX}{path}{A}": a, f"{PREFIX}{path}{B}": b}
            if config.dora:
                tensors[f"{PREFIX}{path}{MAGNITUDE}"] = row_lengths(linear.weight.detach())
        return cls(config, tensors)


class LoraLinear(nn.Module):
    """``base(x) + scaling * B A x``: the expression, and the order of operations, of PEFT's LoRA layer."""

    def __init__(self, base: nn.Linear, a: Tensor, b: Tensor, scaling: float) -> None:
        super().__init__()
        self.base_layer, self.scaling = base, scaling
        self.lora_A, self.lora_B = _linear(a), _linear(b)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        change: Tensor = self.lora_B(self.lora_A(x)) * self.scaling
        result: Tensor = self.base_layer(x) + change
        return result


class DoraLinear(LoraLinear):
    """``m / n * (base(x) + scaling * B A x)``, n taken as a constant by the backward pass: PEFT's DoRA layer."""

    def __init__(self, base: nn.Linear, tensors: Decomposed) -> None:
        super().__init__(base, tensors.a, tensors.b, tensors.scaling)
        self.lora_magnitude_vector, self._tensors = Magnitude(tensors.magnitude), tensors

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        bias = cast("Tensor | None", self.base_layer.bias)
        plain = super().forward(x)
        scaled: Tensor = self.lora_magnitude_vector(plain if bias is None else plain - bias, self._tensors.norm())
        return (scaled if bias is None else scaled + bias).to(plain.dtype)


def _linear(weight: Tensor) -> nn.Linear:
    """A bias-free linear map that *shares* the tensor, so that an optimizer's in-place update is seen by both."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight)
    return linear


@contextmanager
def attached(model: nn.Module, adapter: Adapter) -> Iterator[dict[str, nn.Linear | Magnitude]]:
    """Attach an adapter to a base model; yields its linear maps by PEFT tensor name, in vector order.

    The weights of these maps are the adapter's own tensors and require gradients. Raises AdapterError where the adapter
    does not fit the model. Not re-entrant: one adapter at a time.
    """
    targets = _targets(model, adapter.config)
    _check_shapes(adapter, targets)
    whole = {path: _decomposed(adapter, path, linear) for path, linear in targets.items() if adapter.config.dora}
    maps: dict[str, nn.Linear | Magnitude] = {}
    try:
        for path, linear in targets.items():
            a, b = f"{PREFIX}{path}{A}", f"{PREFIX}{path}{B}"
            lora: LoraLinear
            if path in whole:
                lora = dora = DoraLinear(linear, whole[path])
                maps[f"{PREFIX}{path}{MAGNITUDE}"] = dora.lora_magnitude_vector
            else:
                lora = LoraLinear(linear, adapter.tensors[a], adapter.tensors[b], adapter.config.scaling)
            maps |= {a: lora.lora_A, b: lora.lora_B}
            model.set_submodule(path, lora)
        yield {name: maps[name] for name in sorted(maps)}
    finally:
        for path, linear in targets.items():
            model.set_submodule(path, linear)


def decomposed(model: nn.Module, adapter: Adapter) -> list[Decomposed]:
    """A DoRA adapter's maps in vector order; none of a LoRA adapter. Call while no adapter is attached.

    Raises AdapterError where the adapter does not fit the model.
    """
    if not adapter.config.dora:
        return []
    targets = _targets(model, adapter.config)
    _check_shapes(adapter, targets)
    return [_decomposed(adapter, path, targets[path]) for path in sorted(targets, key=lambda path: path + A)]


def _decomposed(adapter: Adapter, path: str, linear: nn.Linear) -> Decomposed:
    a, b, magnitude = (adapter.tensors[f"{PREFIX}{path}{kind}"] for kind in (A, B, MAGNITUDE))
    whole = Decomposed(linear.weight.detach(), a, b, magnitude, adapter.config.scaling)
    if not bool((whole.norm() > 0).all()):
        raise AdapterError(f"{path} has a row of zeros, which gives DoRA no direction: leave it out of the targets")
    if bool((magnitude == 0).any()):
        raise AdapterError(f"{PREFIX}{path}{MAGNITUDE} holds a zero: the adapter is damaged")
    return whole


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
    expected: dict[str, tuple[int, ...]] = {}
    for path, linear in targets.items():
        expected[f"{PREFIX}{path}{A}"] = (rank, linear.in_features)
        expected[f"{PREFIX}{path}{B}"] = (linear.out_features, rank)
        if adapter.config.dora:
            expected[f"{PREFIX}{path}{MAGNITUDE}"] = (linear.out_features,)
    found = {name: tuple(tensor.shape) for name, tensor in adapter.tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise AdapterError(
                f"the adapter's tensors do not fit its configuration and the base model: {name} "
                f"is {_shape(found.get(name))}, and should be {_shape(expected.get(name))}"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {list(shape)}"
