"""What is told of a trained adapter, as files beside it: its evaluation, and how training went.

Training is over by then, and nothing here changes the adapter.  This module does not know who may see what.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger import canonical
from openledger.influence.decoder import Decoder
from openledger.influence.index import ContributionIndex
from openledger.influence.lora import Adapter
from services.factory.data import Example
from services.factory.evaluation import curves as drawing
from services.factory.evaluation import evaluate as evaluation
from services.factory.evaluation.canaries import Canary
from services.factory.lineage import EVALUATION, PRIVATE_EVALUATION
from services.factory.schedule import learning_rate
from services.factory.spec import FineTuneSpec
from services.factory.write import INDEX, TRAINING

__all__ = ["CURVES", "EVALUATION", "Judged", "curves", "evaluate"]

CURVES = "curves.json"
PICTURES = ("training.png", "contributors.png")


@dataclass(frozen=True)
class Judged:
    """What of an evaluation belongs beside the training's own figures."""

    metrics: dict[str, int | float]
    verdict: str


def evaluate(
    spec: FineTuneSpec,
    training: Sequence[Example],
    held_out: Sequence[Example],
    planted: Sequence[Canary],
    tokenizer: Any,
    base: Path,
    folder: Path,
    on_work: Callable[[], None],
) -> Judged:
    """Measure the adapter in a folder; writes the report for everybody, and the builder's with contributors' texts.

    training: without canaries.
    """
    report = evaluation.evaluate(
        Decoder.load(base),
        Adapter.load(folder),
        tokenizer,
        training,
        held_out,
        seed=spec.seed,
        canaries=planted,
        on_work=on_work,
    )
    (folder / EVALUATION).write_bytes(canonical.dumps(report.public().to_json()))
    (folder / PRIVATE_EVALUATION).write_bytes(canonical.dumps(report.to_json()))
    figures = report.held_out.figures
    measured = {"accuracy_before": figures.accuracy_before.value, "accuracy_after": figures.accuracy_after.value}
    metrics: dict[str, int | float] = {
        name: value for name, value in measured.items() if value is not None and math.isfinite(value)
    }
    return Judged(metrics, report.judgement.words)


def curves(spec: FineTuneSpec, folder: Path) -> None:
    """Write how training went as data, and as pictures, which are not part of what the adapter's name commits to."""
    history = json.loads((folder / TRAINING).read_bytes())
    steps, taken = len(history["batches"]), len(history["losses"])
    held_out = [drawing.HeldOutPoint(step, loss) for step, loss in history["evaluations"]]
    told = drawing.Curves(
        tuple(math.nan if loss is None else loss for loss in history["losses"]),
        tuple(learning_rate(spec, step, steps) for step in range(taken)),
        tuple(held_out),
        None if history["kept_step"] == taken else history["kept_step"],
    )
    (folder / CURVES).write_bytes(canonical.dumps(told.to_json()))
    (folder / PICTURES[0]).write_bytes(drawing.draw_training(told))
    contributors(folder)


def contributors(folder: Path) -> None:
    """Draw how far each contributor moved the weights."""
    index = ContributionIndex.open(folder / INDEX)
    norms = [math.sqrt(float((index.row(row).to_float() ** 2).sum())) for row in range(index.header.rows)]
    people = dict(zip(index.header.contributors, norms, strict=False))
    (folder / PICTURES[1]).write_bytes(drawing.draw_contributors(people, norms[len(people) :]))
