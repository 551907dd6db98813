"""Fine-tunes side by side: where their runs differ, and how their losses went, thinned out to what a plot can show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.factory.model import Checkpoint, FineTune, TrainingProgress

MAX_POINTS = 500


@dataclass(frozen=True)
class Difference:
    """A setting of the run file in which they differ, and each one's value as JSON."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """What was measured at one step; losses in nats per token."""

    step: int
    train_loss: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Everything in the order in which the fine-tunes were named."""

    fine_tunes: tuple[FineTune, ...]
    differences: tuple[Difference, ...]
    curves: tuple[tuple[Point, ...], ...]


def compare(jobs: Sequence[FineTune], curves: Sequence[tuple[Point, ...]]) -> Comparison:
    """One curve for each fine-tune."""
    settings = [dict(_flat(_document(job))) for job in jobs]
    fields = sorted({field for one in settings for field in one})
    rows = (Difference(field, tuple(one.get(field, "null") for one in settings)) for field in fields)
    return Comparison(tuple(jobs), tuple(row for row in rows if len(set(row.values)) > 1), tuple(curves))


def curve(told: Sequence[TrainingProgress], checkpoints: Iterable[Checkpoint]) -> tuple[Point, ...]:
    """told: one for each step, in order.  Of more than MAX_POINTS some are left out, evenly; measured ones stay."""
    points = {progress.step: Point(progress.step, progress.loss) for progress in _thinned(told)}
    for found in checkpoints:
        points[found.step] = Point(found.step, found.train_loss, found.valid_loss, found.valid_mean_token_accuracy)
    return tuple(points[step] for step in sorted(points))


def _thinned(told: Sequence[TrainingProgress]) -> list[TrainingProgress]:
    if len(told) <= MAX_POINTS:
        return list(told)
    return [told[round(i * (len(told) - 1) / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]


def _document(job: FineTune) -> dict[str, Any]:
    """As in its run file, with the machine's threads."""
    training = job.spec.to_json()
    return {
        "use": str(job.use),
        "base": {"name": training.pop("base"), "sha256": job.base_sha256},
        "snapshots": [f"{pin.name} {pin.root}" for pin in job.snapshots],
        "training": training,
        "threads": job.threads,
        **({"replaces": {**vars(job.replaces), "without": list(job.replaces.without)}} if job.replaces else {}),
    }


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False)
