"""A finished run as files: the adapter in PEFT's layout, the contribution index, and how it was trained.

The same run gives the same bytes; there are no times in them. This module does not know what is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save

from openledger import canonical
from openledger.influence import index
from services.factory.data import Example
from services.factory.training_run import TrainingRun

TRAINING_VERSION = "openledger.training.v1"
INDEX, TRAINING = "contribution_index.safetensors", "training.json"
FILES = ("adapter_config.json", "adapter_model.safetensors", INDEX, "metrics.json", TRAINING)


def folder(
    out: Path, run: TrainingRun, held_out: Sequence[Example], metrics: dict[str, int | float]
) -> tuple[tuple[str, ...], str]:
    """Write a run; returns the names of its files, and the contribution index's root in hex."""
    contribution = contribution_index(run)
    tensors = {name: tensor.clone() for name, tensor in run.adapter.tensors.items()}
    contents = (
        canonical.dumps(run.adapter.config.to_json()),
        save(tensors, metadata={"format": "pt"}),
        contribution.to_bytes(),
        canonical.dumps(metrics),
        canonical.dumps(training(run, held_out)),
    )
    out.mkdir(parents=True, exist_ok=True)
    for name, content in zip(FILES, contents, strict=True):
        (out / name).write_bytes(content)
    return FILES, index.root(contribution).hex()


def contribution_index(run: TrainingRun) -> index.ContributionIndex:
    """A row for each contributor, then the placebos'."""
    vectors = run.shadows.vectors().numpy()
    named = dict(zip(run.row, vectors, strict=False))
    return index.build(run.adapter.parameters, named, list(vectors[len(run.row) :]))


def training(run: TrainingRun, held_out: Sequence[Example]) -> dict[str, Any]:
    """Who was in which step, and what each step showed: enough to train again without somebody.

    ``records`` lists what was trained on, in the order that ``batches`` counts; a canary's contributor is "".
    ``kept_step``: after which step the adapter was taken.
    """
    return {
        "version": TRAINING_VERSION,
        "records": [[example.record, example.contributor] for example in run.training],
        "held_out": [[example.record, example.contributor] for example in held_out],
        "batches": run.plan,
        "losses": run.history.losses,
        "kept_step": run.done,
        "evaluations": [list(entry) for entry in run.history.evaluations],
    }
