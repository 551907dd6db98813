"""Forward and backward passes over examples: the frozen trunk once, the adapted layers as often as training needs.

Examples are taken in chunks of similar length, so little is computed for padding, and the head runs on the completion's
positions only. This module knows no optimizer, no contributors and no schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from openledger.influence.curvature import head_pass
from openledger.influence.decoder import Decoder
from openledger.influence.per_example import PerExampleGradients
from services.factory.data import Example

CHUNK_TOKENS = 1024
"""Padded tokens per forward pass: enough for full speed on a few cores, and little memory for activations."""


@dataclass(frozen=True, eq=False)
class BatchPass:
    """Per example b of a batch, T_b tokens in its completion."""

    loss: Tensor
    """[B]: mean NLL of the completion, in nats."""
    gradient: Tensor
    """[B, P]: gradient of that loss."""
    curvature: Tensor
    """[B, P]: 1 / sqrt(T_b) times the gradient of the sum of the tokens' randomly signed sampled-label losses."""


class Trunk:
    """The trunk's output for each example, computed once: float32 [T, width], in memory."""

    def __init__(self, decoder: Decoder, layers: int) -> None:
        self.decoder, self.layers = decoder, layers
        self._hidden: dict[str, Tensor] = {}

    def prepare(self, examples: Sequence[Example], precision: str, on_tokens: Callable[[int], None]) -> None:
        """Compute the examples' activations; on_tokens is told how many tokens are done after each chunk."""
        for chunk in _chunks(examples):
            chosen = [examples[i] for i in chunk]
            with products_in(precision):
                output = self.decoder.trunk(_ids(chosen), self.layers)
            for example, hidden in zip(chosen, output, strict=True):
                self._hidden[example.record] = hidden[: example.length].clone()
            on_tokens(sum(example.length for example in chosen))

    def padded(self, examples: Sequence[Example]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([self._hidden[e.record] for e in examples], batch_first=True)


def products_in(precision: str) -> torch.autocast:
    """Matrix products in this precision, "float32" or "bfloat16"; sums, norms and losses stay in float32 either way."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")


def fastest_precision(cpu: Path = Path("/proc/cpuinfo")) -> str:
    """What this machine trains fastest in: bfloat16 only where the CPU has instructions for it."""
    flags = set(cpu.read_text().split()) if cpu.is_file() else set()
    return "bfloat16" if flags & {"avx512_bf16", "amx_bf16", "bf16"} else "float32"


def evaluate(trunk: Trunk, examples: Sequence[Example]) -> Tensor:
    """Mean NLL of each example's completion, in nats: [N], computed in float32."""
    loss = torch.empty(len(examples))
    with torch.no_grad():
        for chunk in _chunks(examples):
            chosen = [examples[i] for i in chunk]
            loss[chunk], _, _ = _head(trunk, trunk.decoder.upper(trunk.padded(chosen), trunk.layers), chosen, None)
    return loss


def batch_pass(
    trunk: Trunk, taps: PerExampleGradients, examples: Sequence[Example], precision: str, generator: torch.Generator
) -> BatchPass:
    """Losses, per-example gradients and curvature rows of a batch: one forward and two backward passes."""
    loss = torch.empty(len(examples))
    gradient, curvature = torch.empty(2, len(examples), taps.size)
    for chunk in _chunks(examples):
        chosen = [examples[i] for i in chunk]
        with products_in(precision):
            output = trunk.decoder.upper(trunk.padded(chosen), trunk.layers)
            loss[chunk], true, sampled = _head(trunk, output, chosen, generator)
        gradient[chunk] = taps.gradients(output, true, keep_graph=True)
        curvature[chunk] = taps.gradients(output, sampled)
    return BatchPass(loss, gradient, curvature)


def _head(
    trunk: Trunk, output: Tensor, examples: Sequence[Example], generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [b], and the cotangents [b, T, width] of loss and curvature at the decoder's output."""
    counts = torch.tensor([len(example.completion) for example in examples])
    rows = torch.repeat_interleave(torch.arange(len(examples)), counts)
    columns = torch.cat([torch.arange(len(e.prompt) - 1, e.length - 1) for e in examples])
    targets = torch.tensor([token for example in examples for token in example.completion])
    result = head_pass(output.detach()[rows, columns], targets, trunk.decoder.head.weight, generator)
    true, sampled = torch.zeros(2, *output.shape)
    share = 1.0 / counts[rows, None]
    true[rows, columns] = result.gradient * share
    sampled[rows, columns] = result.curvature * share.sqrt()
    losses = torch.stack([part.mean() for part in torch.split(result.loss, counts.tolist())])
    return losses, true, sampled


def _chunks(examples: Sequence[Example]) -> Iterator[list[int]]:
    """Indices of the examples by length, in groups whose padded size stays within CHUNK_TOKENS (at least one each)."""
    group: list[int] = []
    for i in sorted(range(len(examples)), key=lambda i: examples[i].length):
        if group and (len(group) + 1) * examples[i].length > CHUNK_TOKENS:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def _ids(examples: Sequence[Example]) -> Tensor:
    """Token ids [b, T], padded on the right with 0, which nothing real ever attends to."""
    rows = [torch.tensor([*example.prompt, *example.completion]) for example in examples]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
