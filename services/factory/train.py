"""Fine-tune a LoRA adapter on examples, learning on the way what each contributor did to it.

One run of AdamW with shadow trajectories always on (``openledger.influence.shadow``); the same specification, data,
base and thread count give the same bytes. Writes a PEFT folder and the contribution index beside it. It knows nothing
of gRPC, databases, snapshots or money; it runs in the calling thread and prints nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from openledger import canonical
from openledger.influence import index
from openledger.influence.adapter_config import AdapterConfig
from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached
from openledger.influence.parameters import Parameter
from openledger.influence.per_example import PerExampleGradients
from openledger.influence.shadow import ShadowTrajectories
from services.factory.data import Example, split
from services.factory.passes import BatchPass, Trunk, batch_pass, evaluate
from services.factory.progress import Cancelled, Diverged, Progress, Reporter, TrainingError
from services.factory.spec import FineTuneSpec

__all__ = ["Cancelled", "Diverged", "Progress", "TrainResult", "TrainingError", "train"]

WARM_UP = 3
"""Steps over which the learning rate rises to its peak."""


@dataclass(frozen=True)
class TrainResult:
    """What was written, and what belongs into the lineage manifest."""

    folder: Path
    files: tuple[str, ...]
    """Names within the folder."""
    parameters: tuple[Parameter, ...]
    contributors: dict[str, int]
    """Address -> records trained on."""
    index_root: str
    """Hex."""
    metrics: dict[str, int | float]
    """Figures without times: the same for the same run."""
    losses: tuple[float, ...]
    """Of each step, in nats per token."""


def train(
    spec: FineTuneSpec,
    examples: Sequence[Example],
    base_path: Path,
    out_dir: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train, evaluate, write. ``out_dir`` is created; nothing is written to it before training has ended well.

    Raises TrainingError (unfit data or base, or the loss became NaN), BaseModelError, or Cancelled.
    """
    _check(examples)
    training, held_out = split(examples, spec.held_out, spec.seed)
    on_progress(Progress("loading", 0, math.ceil(len(training) * spec.epochs / spec.batch_size)))
    decoder = Decoder.load(base_path)
    run = _Run(spec, decoder, training, held_out)
    return run.go(out_dir, on_progress, should_stop)


def learning_rate(spec: FineTuneSpec, step: int, steps: int) -> float:
    """Linear warm-up, then cosine decay to zero. step: 0-based."""
    return spec.learning_rate * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def batches(spec: FineTuneSpec, records: int) -> list[list[int]]:
    """Which records each step takes: every epoch is one random order, and no record is left over."""
    generator = seeded(spec.seed, "order")
    order = torch.cat([torch.randperm(records, generator=generator) for _ in range(spec.epochs)])
    return [part.tolist() for part in torch.split(order, spec.batch_size)]


class _Run:
    """The state of one fine-tune."""

    def __init__(
        self, spec: FineTuneSpec, decoder: Decoder, training: Sequence[Example], held_out: Sequence[Example]
    ) -> None:
        _check_base(spec, decoder, [*training, *held_out])
        self.spec, self.decoder, self.training, self.held_out = spec, decoder, training, held_out
        first = decoder.layers - spec.layers
        layers = tuple(range(first, decoder.layers))
        config = AdapterConfig(spec.base, spec.rank, spec.alpha, spec.target_modules, layers)
        self.adapter, self.theta = _flat(Adapter.initialise(config, decoder.model, seeded(spec.seed, "initialise")))
        self.records = dict(sorted(Counter(example.contributor for example in training).items()))
        self.row = {address: row for row, address in enumerate(self.records)}
        self.shadows = ShadowTrajectories(len(self.theta), len(self.row), spec.placebos)
        self.placebos = _placebos(spec, len(training), len(self.row))
        self.trunk = Trunk(decoder, first)
        self.losses: list[float] = []

    def go(
        self, out_dir: Path, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> TrainResult:
        plan = batches(self.spec, len(self.training))
        work = _Work(self.spec, self.decoder)
        everything = [*self.training, *self.held_out]
        total = sum(map(work.trunk, everything)) + 2 * sum(map(work.evaluation, self.held_out))
        total += self.spec.epochs * sum(map(work.training, self.training))
        reporter = Reporter(total, len(plan), on_progress, should_stop)
        for examples, precision in ((self.training, self.spec.precision), (self.held_out, "float32")):
            self.trunk.prepare(examples, precision, lambda n: reporter.report("preparing", n * work.trunk_layers))
        before = self._evaluate(reporter, work)
        generator = seeded(self.spec.seed, "curvature")
        reporter.training_starts()
        with attached(self.decoder.model, self.adapter) as maps, PerExampleGradients(maps) as taps:
            for step, members in enumerate(plan):
                batch = [self.training[i] for i in members]
                result = batch_pass(self.trunk, taps, batch, self.spec.precision, generator)
                self._step(members, result, step, len(plan))
                tokens = sum(example.length for example in batch)
                reporter.trained(self.losses[-1], tokens, sum(map(work.training, batch)))
            after = self._evaluate(reporter, work)
        reporter.report("writing")
        return self._write(out_dir, before, after)

    def _step(self, members: list[int], result: BatchPass, step: int, steps: int) -> None:
        """One optimizer step, with its shadows. members: the batch's records, as indices into the training examples."""
        size = len(members)
        gradients: dict[int, Tensor] = {}
        placebos: dict[int, Tensor] = {}
        for b, i in enumerate(members):
            row = self.row[self.training[i].contributor]
            _accumulate(gradients, row, result.gradient[b], 1 / size)
            for k in (k for k, records in enumerate(self.placebos) if i in records):
                # A real record's part of G is the mean of T token gradients over B; so is this, but of random sign.
                tokens = len(self.training[i].completion)
                _accumulate(placebos, k, result.curvature[b], 1 / (size * math.sqrt(tokens)))
        rate = learning_rate(self.spec, step, steps)
        self.theta += self.shadows.step(gradients, placebos, result.curvature / math.sqrt(size), rate)
        self.losses.append(float(result.loss.mean()))
        if not (math.isfinite(self.losses[-1]) and bool(torch.isfinite(self.theta).all())):
            raise Diverged(f"the loss became {self.losses[-1]} at step {step + 1} of {steps}: lower the learning rate")

    def _evaluate(self, reporter: Reporter, work: _Work) -> Tensor:
        losses = evaluate(self.trunk, self.held_out)
        reporter.report("evaluating", sum(map(work.evaluation, self.held_out)))
        return losses

    def _write(self, out_dir: Path, before: Tensor, after: Tensor) -> TrainResult:
        displacements = self.shadows.displacements.numpy()
        vectors = dict(zip(self.row, displacements, strict=False))
        parameters = self.adapter.parameters
        contribution = index.build(parameters, vectors, list(displacements[len(self.row) :]))
        metrics = _metrics(self, before, after)
        tensors = {name: tensor.clone() for name, tensor in self.adapter.tensors.items()}
        out_dir.mkdir(parents=True, exist_ok=True)
        (out_dir / "adapter_config.json").write_bytes(canonical.dumps(self.adapter.config.to_json()))
        (out_dir / "adapter_model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
        (out_dir / "contribution_index.safetensors").write_bytes(contribution.to_bytes())
        (out_dir / "metrics.json").write_bytes(canonical.dumps(metrics))
        files = ("adapter_config.json", "adapter_model.safetensors", "contribution_index.safetensors", "metrics.json")
        root = index.root(contribution).hex()
        return TrainResult(out_dir, files, parameters, self.records, root, metrics, tuple(self.losses))


class _Work:
    """Costs in layer-tokens. The head counts as the number of layers that have as many weights."""

    def __init__(self, spec: FineTuneSpec, decoder: Decoder) -> None:
        layer = sum(weight.numel() for weight in decoder.body.layers[0].parameters())
        self.head: float = decoder.head.weight.numel() / layer
        self.upper = spec.layers
        self.trunk_layers = decoder.layers - spec.layers

    def trunk(self, example: Example) -> float:
        return example.length * self.trunk_layers

    def evaluation(self, example: Example) -> float:
        return example.length * self.upper + len(example.completion) * 2 * self.head

    def training(self, example: Example) -> float:
        return example.length * 3 * self.upper + len(example.completion) * 2 * self.head


def _check(examples: Sequence[Example]) -> None:
    if not examples:
        raise TrainingError("there is no record to train on")
    names = Counter(example.record for example in examples)
    if len(names) < len(examples):
        raise TrainingError(f"the record {names.most_common(1)[0][0]} occurs more than once")
    for example in examples:
        if not index.ADDRESS.fullmatch(example.contributor):
            raise TrainingError(f"record {example.record}: {example.contributor!r} is not a lower-case 0x address")
        if not example.prompt or not example.completion:
            raise TrainingError(f"record {example.record} has an empty prompt or completion")


def _check_base(spec: FineTuneSpec, decoder: Decoder, examples: Sequence[Example]) -> None:
    if spec.layers > decoder.layers:
        raise TrainingError(f"the base model has {decoder.layers} layers, the specification asks for {spec.layers}")
    for example in examples:
        if example.length > decoder.context:
            raise TrainingError(f"record {example.record} is longer than the base model's context of {decoder.context}")
        if not all(0 <= token < decoder.vocabulary for token in (*example.prompt, *example.completion)):
            raise TrainingError(f"record {example.record} holds a token that the base model does not have")


def _flat(adapter: Adapter) -> tuple[Adapter, Tensor]:
    """The same adapter with its tensors as views of one vector [P], so that one addition updates all."""
    theta = torch.cat([adapter.tensors[parameter.name].flatten() for parameter in adapter.parameters])
    parts = torch.split(theta, [parameter.size for parameter in adapter.parameters])
    views = {p.name: part.view(p.shape) for p, part in zip(adapter.parameters, parts, strict=True)}
    return Adapter(adapter.config, views), theta


def _placebos(spec: FineTuneSpec, records: int, contributors: int) -> list[frozenset[int]]:
    """For each placebo the records it pretends to own: as many as the average contributor has, at random."""
    generator = seeded(spec.seed, "placebos")
    size = max(1, round(records / contributors))
    return [frozenset(torch.randperm(records, generator=generator)[:size].tolist()) for _ in range(spec.placebos)]


def _accumulate(sums: dict[int, Tensor], key: int, row: Tensor, weight: float) -> None:
    if key in sums:
        sums[key].add_(row, alpha=weight)
    else:
        sums[key] = row * weight


def seeded(seed: int, purpose: str) -> torch.Generator:
    """Independent random numbers for each purpose, so that one more draw here changes nothing there."""
    digest = hashlib.sha256(f"{purpose}\n{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _metrics(run: _Run, before: Tensor, after: Tensor) -> dict[str, int | float]:
    """Figures for the lineage manifest: losses in nats per token, means over records; no times."""
    metrics: dict[str, int | float] = {
        "records": len(run.training),
        "records_held_out": len(run.held_out),
        "steps": len(run.losses),
        "tokens": sum(example.length for example in run.training) * run.spec.epochs,
        "threads": torch.get_num_threads(),
    }
    if run.held_out:
        change = (after - before).double()
        metrics["loss_before"] = float(before.double().mean())
        metrics["loss_after"] = float(after.double().mean())
        metrics["loss_change_standard_error"] = float(change.std(correction=0)) / math.sqrt(max(len(change) - 1, 1))
    return metrics
