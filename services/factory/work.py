"""What a run costs, before it starts, in units of one decoder layer applied to one token.

The head counts as the number of layers that have as many weights. This module knows costs, not times: see
``services.factory.progress``.
"""

from __future__ import annotations

from collections.abc import Sequence

from openledger.base_model_shape import BaseModelShape
from openledger.influence.decoder import Decoder
from services.factory.data import Example
from services.factory.spec import FineTuneSpec

DORA = 1.18
"""Times LoRA's cost (docs/adr/0018-dora.md)."""


def per_token(spec: FineTuneSpec, shape: BaseModelShape, answers: float) -> float:
    """Of a token that is trained on, its part of the trunk's one pass included, to compare two runs on one base.

    answers: share of the tokens that are completions.  How rank and contributors add to it is not known here.
    """
    upper = min(spec.layers, shape.layers) or shape.layers
    layer = sum(inputs * outputs for inputs, outputs in shape.maps().values())
    head = answers * 2 * shape.vocabulary * shape.width / layer
    backward = 1 + spec.curvature_samples * spec.curvature_share
    trained = (upper * (2 + backward) + head) * (DORA if spec.dora else 1)
    return trained + (shape.layers - upper) / spec.epochs


class Work:
    """Costs in layer-tokens."""

    def __init__(self, spec: FineTuneSpec, decoder: Decoder) -> None:
        layer = sum(weight.numel() for weight in decoder.body.layers[0].parameters())
        self.head: float = decoder.head.weight.numel() / layer
        self.upper = spec.layers or decoder.layers
        self.trunk_layers = decoder.layers - self.upper
        self.backward = 1 + spec.curvature_samples * spec.curvature_share
        """Backward passes a record."""
        self.epochs = spec.epochs

    def of_run(self, training: Sequence[Example], held_out: Sequence[Example], evaluations: int) -> float:
        """Everything, from loading to writing; evaluations: those while training."""
        trunk = sum(e.length for e in (*training, *held_out)) * self.trunk_layers
        looks = (2 + evaluations) * sum(map(self.evaluation, held_out))
        return trunk + looks + self.epochs * sum(map(self.training, training))

    def evaluation(self, example: Example) -> float:
        """One forward pass."""
        return example.length * self.upper + len(example.completion) * self.head

    def training(self, example: Example) -> float:
        """One visit: forward, backward, and the sums that couple the factors, which cost as much as a backward pass."""
        return example.length * self.upper * (2 + self.backward) + len(example.completion) * 2 * self.head
