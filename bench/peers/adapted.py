"""An adapter as a module of its own, for libraries that attribute to a module's parameters.

Only LoRA's maps are registered, in the order of the parameter vector; the base model is used and not seen. Inputs are
the frozen trunk's outputs, right-padded, so that nothing below the adapter is computed again. Knows no methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from services.factory.data import Example
from services.factory.passes import Trunk

Batch = Sequence[Tensor]
"""hidden [b, T, width], places [b, L] that predict the L tokens targets [b, L], and weights [b, L], 1 / L_b or 0."""


class Adapted(nn.Module):
    """Mean NLL of each example's completion; call while the adapter is attached to the trunk's model."""

    def __init__(self, trunk: Trunk, maps: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(maps.values())
        self._trunk = trunk

    def losses(self, hidden: Tensor, places: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """[b]; of a single example without the first dimension a number."""
        if hidden.dim() == 2:
            return self.losses(hidden[None], places[None], targets[None], weights[None])[0]
        output = self._trunk.decoder.upper(hidden, self._trunk.layers)
        chosen = torch.gather(output, 1, places[..., None].expand(-1, -1, output.shape[-1]))
        log = torch.log_softmax(nn.functional.linear(chosen, self._trunk.decoder.head.weight), -1)
        return -(torch.gather(log, 2, targets[..., None])[..., 0] * weights).sum(1)

    def forward(self, hidden: Tensor, places: Tensor, targets: Tensor, weights: Tensor) -> SimpleNamespace:
        """As a language model answers: an object with a loss, here the sum over the batch."""
        return SimpleNamespace(loss=self.losses(hidden, places, targets, weights).sum())


class Named(Dataset[dict[str, Tensor]]):
    """The same examples by name, for libraries that call ``model(**batch)``."""

    def __init__(self, tensors: Batch) -> None:
        self.tensors = dict(zip(("hidden", "places", "targets", "weights"), tensors, strict=True))

    def __len__(self) -> int:
        return len(self.tensors["hidden"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[index] for name, tensor in self.tensors.items()}


def tensors(trunk: Trunk, examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All examples as one Batch; their trunk's outputs are prepared."""
    completions = [torch.tensor(example.completion) for example in examples]
    places = [torch.arange(len(e.prompt) - 1, e.length - 1) for e in examples]
    weights = [torch.full((len(c),), 1 / len(c)) for c in completions]
    padded = (pad_sequence(each, batch_first=True) for each in (places, completions, weights))
    return (trunk.padded(examples), *padded)  # type: ignore[return-value]
