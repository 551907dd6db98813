"""Fine-tune a LoRA adapter on examples, learning on the way what each contributor did to it.

One run of AdamW with shadow trajectories always on (``openledger.influence.shadow``); the same specification, data,
base and thread count give the same bytes, also when the run was killed and goes on from its last checkpoint. Writes a
PEFT folder, the contribution index, and how it was trained. It knows nothing of gRPC, databases, snapshots or money;
it runs in the calling thread and prints nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openledger.influence.parameters import Parameter
from services.factory import checkpoint, effects, trainable, write
from services.factory.data import Example, split
from services.factory.progress import Cancelled, Diverged, Progress, Reporter, TrainingError
from services.factory.replay import Replay
from services.factory.schedule import Plan, evaluation_steps
from services.factory.spec import FineTuneSpec
from services.factory.training_run import TrainingRun, load_base
from services.factory.work import Work

__all__ = ["Cancelled", "Diverged", "Progress", "TrainResult", "TrainingError", "train"]

CHECKPOINT_SECONDS = 30.0
"""Between two checkpoints: what a crash can cost."""


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


@dataclass(frozen=True)
class Scratch:
    """Where a run keeps its checkpoint, and how often it is written."""

    folder: Path
    seconds: float = CHECKPOINT_SECONDS
    """Between two; times as many as one takes to write, where that is above 1: what is followed may be gigabytes."""


def train(
    spec: FineTuneSpec,
    examples: Sequence[Example],
    base_path: Path,
    out_dir: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    canaries: Sequence[Example] = (),
    scratch: Scratch | None = None,
    replay: Replay | None = None,
    below: Path | None = None,
) -> TrainResult:
    """Train, evaluate, write. ``out_dir`` is created; nothing is written to it before training has ended well.

    canaries: examples of nobody's to train on as well. replay: a run to take again without somebody; the specification
    is that run's, without patience. below: a file of the trunk's activations (`Trunk.save`), to save computing them.
    Raises TrainingError (unfit data or base, or the loss became NaN), BaseModelError, Cancelled, or OSError where a
    checkpoint or the result finds no room.
    """
    trainable.check(spec, [*examples, *canaries])
    if replay is None:
        training, held_out = split(examples, spec.held_out, spec.seed)
        training += canaries
        plan = Plan.of(spec, len(training))
        steps = len(plan.batches)
    else:
        training, held_out = replay.split([*examples, *canaries])
        plan, steps = replay.plan, replay.steps
    on_progress(Progress("loading", 0, steps))
    decoder = load_base(spec, base_path)
    trainable.check_base(spec, decoder, [*training, *held_out])
    run = TrainingRun(spec, decoder, training, plan=plan)
    work = Work(spec, decoder)
    total = work.of_run(training, held_out, len(evaluation_steps(spec, len(run.plan))))
    trainer = _Trainer(run, held_out, work, Reporter(total, steps, on_progress, should_stop), scratch, below)
    after = trainer.go(steps)
    trainer.reporter.report("writing")
    metrics = _metrics(run, len(held_out), after)
    files, root = write.folder(out_dir, run, held_out, metrics)
    effects.write(out_dir, run, held_out)
    return TrainResult(out_dir, files, run.adapter.parameters, run.records, root, metrics, tuple(run.history.losses))


def advance(
    run: TrainingRun,
    steps: int,
    scratch: Scratch,
    below: Path | None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Take a run to the step after which it is known to end, measuring nothing.  Raises Diverged, OSError.

    below: as `train` takes it.
    """
    work = Work(run.spec, run.decoder)
    reporter = Reporter(work.of_run(run.training, (), 0), steps, on_progress, lambda: False)
    _Trainer(run, (), work, reporter, scratch, below).go(steps)


class _Trainer:
    """Takes a run from wherever it stands to its end."""

    def __init__(
        self,
        run: TrainingRun,
        held_out: Sequence[Example],
        work: Work,
        reporter: Reporter,
        scratch: Scratch | None,
        below: Path | None,
    ) -> None:
        self.run, self.held_out, self.work, self.reporter = run, held_out, work, reporter
        self.scratch, self.below = scratch, below
        self._best: dict[str, Tensor] = {}
        self._written, self._took = time.monotonic(), 0.0

    def go(self, steps: int) -> Tensor:
        """Train to that step; returns the held-out losses after [N], and leaves the run as it is to be published."""
        self._prepare()
        resumed = checkpoint.load(self.scratch.folder) if self.scratch else None
        if resumed is not None:
            self._resume(*resumed)
        if not self.run.history.before:
            self.run.history.before = self._evaluate().tolist()
        looked_at = evaluation_steps(self.run.spec, len(self.run.plan))
        self.reporter.training_starts()
        with self.run.attached():
            while self.run.done < steps and not self._impatient():
                examples = [self.run.training[i] for i in self.run.plan[self.run.done]]
                tokens = self.run.step()
                self.reporter.trained(self.run.history.last_loss, tokens, sum(map(self.work.training, examples)))
                if self.run.done in looked_at:
                    self._look()
                self._checkpoint()
            return self._finish()

    def _prepare(self) -> None:
        run, trunk_work = self.run, self.work.trunk_layers
        if self.below is not None:
            run.trunk.load(self.below, [*run.training, *self.held_out])
            tokens = sum(example.length for example in (*run.training, *self.held_out))
            self.reporter.resumed(0, tokens * trunk_work)
            return
        for examples, precision in ((run.training, run.spec.precision), (self.held_out, "float32")):
            run.trunk.prepare(examples, precision, lambda n: self.reporter.report("preparing", n * trunk_work))

    def _evaluate(self) -> Tensor:
        losses, accuracy = self.run.evaluate(self.held_out)
        mean = float(losses.double().mean()) if self.held_out else 0.0
        if not math.isfinite(mean):
            raise Diverged(_immeasurable(mean, self.run.done))
        valid = (mean, float(accuracy.double().mean())) if self.run.done and self.held_out else None
        self.reporter.report("evaluating", sum(map(self.work.evaluation, self.held_out)), valid)
        return losses

    def _look(self) -> None:
        """Measure the held-out loss, and keep the weights and displacements that gave the lowest."""
        if not self.held_out:
            return
        losses = self._evaluate()
        self.run.history.evaluations.append((self.run.done, float(losses.double().mean())))
        if self.run.spec.patience and self._since_best() == 0:
            self._best = checkpoint.clone(self.run.state()[0])

    def _since_best(self) -> int:
        """Evaluations since the one with the lowest loss."""
        losses = [loss for _, loss in self.run.history.evaluations]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0

    def _impatient(self) -> bool:
        patience = self.run.spec.patience
        return bool(patience) and self._since_best() >= patience

    def _finish(self) -> Tensor:
        """The last evaluation; where it is not the best and the run was to keep the best, go back to that."""
        after = self._evaluate()
        history = self.run.history
        if self.held_out and (not history.evaluations or history.evaluations[-1][0] != self.run.done):
            history.evaluations.append((self.run.done, float(after.double().mean())))
        if self._best and self._since_best() > 0:
            best = min(history.evaluations, key=lambda entry: entry[1])[0]
            self.run.restore(self._best, self.run.state()[1] | {"steps": best})
            after = self._evaluate()
        return after

    def _checkpoint(self) -> None:
        if self.scratch is None or time.monotonic() - self._written < self.scratch.seconds * max(1.0, self._took):
            return
        start = time.monotonic()
        tensors, numbers = self.run.state()
        best = {f"best.{name}": tensor for name, tensor in self._best.items()}
        checkpoint.save(self.scratch.folder, tensors | best, numbers)
        self._written = time.monotonic()
        self._took = self._written - start

    def _resume(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        self._best = {name.removeprefix("best."): t for name, t in tensors.items() if name.startswith("best.")}
        self.run.restore(tensors, numbers)
        done = [self.run.training[i] for members in self.run.plan[: self.run.done] for i in members]
        tokens = sum(example.length for example in done)
        self.reporter.resumed(self.run.done, sum(map(self.work.training, done)), tokens)


def _immeasurable(mean: float, step: int) -> str:
    if step:
        return f"the loss of the held-out records became {mean} after step {step}: lower the learning rate"
    return f"the base model's loss of the held-out records is {mean}: take other records, or another base"


def _metrics(run: TrainingRun, held_out: int, after: Tensor) -> dict[str, int | float]:
    """Figures for the lineage manifest: losses in nats per token, means over records; no times."""
    seen = [run.training[i] for members in run.plan[: len(run.history.losses)] for i in members]
    metrics: dict[str, int | float] = {
        "records": sum(run.records.values()),
        "records_held_out": held_out,
        "steps": run.done,
        "tokens": sum(example.length for example in seen),
        "threads": torch.get_num_threads(),
    }
    if held_out:
        before = torch.tensor(run.history.before, dtype=torch.float64)
        change = after.double() - before
        metrics["loss_before"] = float(before.mean())
        metrics["loss_after"] = float(after.double().mean())
        metrics["loss_change_standard_error"] = float(change.std(correction=0)) / math.sqrt(max(len(change) - 1, 1))
    return metrics
