"""The parameter vector of an adapter: its tensors by sorted PEFT name, each flattened in C order, concatenated.

Contribution vectors, answer gradients and the optimizer's state all live in this one coordinate system. This module
fixes it; it does not know how the tensors are computed, quantised or stored.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Parameter:
    """One tensor of an adapter, by the name it has in a PEFT ``adapter_model.safetensors``."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Entries."""
        return math.prod(self.shape)


def layout(shapes: Mapping[str, Iterable[int]]) -> tuple[Parameter, ...]:
    """The parameter vector's layout for tensors given as name -> shape."""
    return tuple(Parameter(name, tuple(int(n) for n in shapes[name])) for name in sorted(shapes))


def sizes(parameters: Iterable[Parameter]) -> tuple[int, ...]:
    """Entries per tensor, in vector order."""
    return tuple(parameter.size for parameter in parameters)
