"""Forward and backward passes over examples: the frozen trunk once, the adapted layers as often as training needs.

Examples are taken in chunks of similar length, so little is computed for padding, and the head runs on the completion's
positions only. This module knows no optimizer, no contributors and no schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from openledger.influence.coupling import Coupling
from openledger.influence.curvature import head_pass, token_losses
from openledger.influence.decoder import Decoder
from openledger.influence.per_example import PerExampleGradients
from services.factory.data import Example

CHUNK_TOKENS = 1024
"""Padded tokens per forward pass: enough for full speed on a few cores, and little memory for activations."""


@dataclass(frozen=True, eq=False)
class BatchPass:
    """Of a batch of B records; T_b tokens in record b's completion."""

    loss: Tensor
    """[B]: mean NLL of the completion, in nats."""
    gradient: Tensor
    """[B, P]: gradient of that loss, over the batch's size: the rows sum to the gradient of the batch's mean loss."""
    curvature: Tensor
    """[n, P]: A^T A is an unbiased estimate of the Gauss-Newton matrix of the B records' mean loss."""
    curved: tuple[int, ...]
    """The record that each row of it is of."""

    def sampled(self, records: Sequence[int]) -> Tensor:
        """1 / sqrt(T) times the gradient of the sum of a record's T randomly signed sampled-label losses: [b, P]."""
        rows = self.curvature[[self.curved.index(record) for record in records]]
        return rows * math.sqrt(len(self.curved))


@dataclass(frozen=True, eq=False)
class Curved:
    """How a batch's curvature is estimated."""

    records: Sequence[int]
    """On which of its records: a random choice."""
    samples: int
    """Sampled labels a record."""
    generator: torch.Generator


class Trunk:
    """The trunk's output for each example, computed once: float32 [T, width], in memory."""

    def __init__(self, decoder: Decoder, layers: int) -> None:
        self.decoder, self.layers = decoder, layers
        self._hidden: dict[str, Tensor] = {}

    def prepare(self, examples: Sequence[Example], precision: str, on_tokens: Callable[[int], None]) -> None:
        """Compute the examples' activations; on_tokens is told how many tokens are done after each.

        One at a time: what an example's are must not depend, to the last bit, on which others there are.  Who trains
        again without somebody then needs none of that somebody's texts to come to the same weights.
        """
        for example in examples:
            with products_in(precision):
                [hidden] = self.decoder.trunk(torch.tensor([[*example.prompt, *example.completion]]), self.layers)
            self._hidden[example.record] = hidden.clone()
            on_tokens(example.length)

    def save(self, file: Path) -> None:
        """Write what was prepared, as float32 safetensors by record.  Raises OSError, SafetensorError."""
        save_file(self._hidden, file)

    def load(self, file: Path, examples: Sequence[Example]) -> None:
        """Take up what another one of the same base and layers has saved, instead of preparing it."""
        with safe_open(file, framework="pt") as saved:
            self._hidden |= {example.record: saved.get_tensor(example.record) for example in examples}

    def padded(self, examples: Sequence[Example]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([self._hidden[e.record] for e in examples], batch_first=True)


def products_in(precision: str) -> torch.autocast:
    """Matrix products in this precision, "float32" or "bfloat16"; sums, norms and losses stay in float32 either way."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")


def fastest_precision(cpu: Path = Path("/proc/cpuinfo")) -> str:
    """What this machine trains fastest in: bfloat16 only where the CPU has instructions for it."""
    flags = set(cpu.read_text().split()) if cpu.is_file() else set()
    return "bfloat16" if flags & {"avx512_bf16", "amx_bf16", "bf16"} else "float32"


def evaluate(trunk: Trunk, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Mean NLL in nats, and share of tokens that are the likeliest, of each completion: [N], [N]; in float32."""
    loss, accuracy = torch.empty(2, len(examples))
    with torch.no_grad():
        for chunk in _chunks(examples):
            chosen = [examples[i] for i in chunk]
            output = trunk.decoder.upper(trunk.padded(chosen), trunk.layers)
            rows, columns, targets, counts = _positions(chosen)
            losses, correct = token_losses(output[rows, columns], targets, trunk.decoder.head.weight)
            loss[chunk], accuracy[chunk] = _means(losses, counts), _means(correct.float(), counts)
    return loss, accuracy


def batch_pass(
    trunk: Trunk,
    taps: PerExampleGradients,
    examples: Sequence[Example],
    precision: str,
    curved: Curved,
    coupling: Coupling | None,
    size: int | None = None,
) -> BatchPass:
    """Losses, per-example gradients and curvature rows of a batch, and what couples the factors of its LoRA maps.

    One forward and one backward pass, and one more backward pass a sample for the records that curvature is taken of.
    size: records that the batch's loss is a mean over, where some weigh 0 and are not among the examples.
    """
    size = size or len(examples)
    loss, gradient = torch.empty(len(examples)), torch.empty(len(examples), taps.size)
    place = {record: row for row, record in enumerate(curved.records)}
    curvature = torch.empty(curved.samples, len(place), taps.size)
    for chunk, wanted in _parts(examples, place):
        chosen = [examples[i] for i in chunk]
        with products_in(precision):
            output = trunk.decoder.upper(trunk.padded(chosen), trunk.layers)
            samples = curved.samples if wanted else 0
            head = _head(trunk, output, chosen, curved.generator, samples)
        loss[chunk] = head.loss
        deltas = taps.deltas(output, head.gradient / size, keep_graph=wanted)
        gradient[chunk] = taps.rows(deltas)
        if coupling is not None:
            coupling.take(chunk, taps.inputs(), deltas)
        for sample in range(samples):
            keep = sample + 1 < samples
            rows = taps.gradients(output, head.curvature[sample], keep_graph=keep)
            curvature[sample, [place[i] for i in chunk]] = rows
    curvature = curvature.view(-1, taps.size)
    if len(curvature):
        curvature.mul_(1 / math.sqrt(len(curvature)))
    return BatchPass(loss, gradient, curvature, tuple(curved.records) * curved.samples)


def gradients(trunk: Trunk, taps: PerExampleGradients, examples: Sequence[Example]) -> Tensor:
    """The gradient of each example's own loss, in float32: [N, P]."""
    rows = torch.empty(len(examples), taps.size)
    for chunk in _chunks(examples):
        chosen = [examples[i] for i in chunk]
        output = trunk.decoder.upper(trunk.padded(chosen), trunk.layers)
        rows[chunk] = taps.gradients(output, _head(trunk, output, chosen).gradient)
    return rows


def batch_gradient(
    trunk: Trunk, weights: Sequence[Tensor], examples: Sequence[Example], size: int, precision: str
) -> Tensor:
    """Gradient [P] of the examples' losses summed, over ``size``, with respect to the attached adapter's weights."""
    total = torch.zeros(sum(weight.numel() for weight in weights))
    for chunk in _chunks(examples):
        chosen = [examples[i] for i in chunk]
        with products_in(precision):
            output = trunk.decoder.upper(trunk.padded(chosen), trunk.layers)
            head = _head(trunk, output, chosen)
        gradients = torch.autograd.grad(output, weights, head.gradient / size)
        total += torch.cat([gradient.flatten() for gradient in gradients])
    return total


def _parts(examples: Sequence[Example], curved: Mapping[int, int]) -> Iterator[tuple[list[int], bool]]:
    """Chunks of a batch, and whether they are of records that curvature is taken of."""
    for wanted in (True, False):
        members = [i for i in range(len(examples)) if (i in curved) is wanted]
        for chunk in _chunks([examples[i] for i in members]):
            yield [members[i] for i in chunk], wanted


@dataclass(frozen=True, eq=False)
class _Head:
    """Loss [b] of a chunk, and the cotangents at the decoder's output of loss and of curvature."""

    loss: Tensor
    gradient: Tensor
    """[b, T, width]"""
    curvature: Tensor
    """[S, b, T, width]"""


def _head(
    trunk: Trunk,
    output: Tensor,
    examples: Sequence[Example],
    generator: torch.Generator | None = None,
    samples: int = 0,
) -> _Head:
    rows, columns, targets, counts = _positions(examples)
    weight = trunk.decoder.head.weight
    result = head_pass(output.detach()[rows, columns], targets, weight, generator, samples)
    true, sampled = torch.zeros(output.shape), torch.zeros(samples, *output.shape)
    share = 1.0 / torch.tensor(counts)[rows, None]
    true[rows, columns] = result.gradient * share
    sampled[:, rows, columns] = result.curvature * share.sqrt()
    return _Head(_means(result.loss, counts), true, sampled)


def _positions(examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Of a chunk's N completion tokens: row and column that predict each, which it is [N]; how many each record has."""
    counts = [len(example.completion) for example in examples]
    rows = torch.repeat_interleave(torch.arange(len(examples)), torch.tensor(counts))
    columns = torch.cat([torch.arange(len(e.prompt) - 1, e.length - 1) for e in examples])
    targets = torch.tensor([token for example in examples for token in example.completion])
    return rows, columns, targets, counts


def _means(values: Tensor, counts: Sequence[int]) -> Tensor:
    """Of each record's tokens: [N] -> [b]."""
    return torch.stack([part.mean() for part in torch.split(values, list(counts))])


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
