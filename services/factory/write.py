"""A finished run as files: the adapter in PEFT's layout, the contribution index, and how it was trained.

Beside them the optimizer's second moment, by which sketches of records are made; it is nobody's but the Factory's. The
same run gives the same bytes; there are no times in them. This module does not know what is published.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from openledger import adapters, canonical
from openledger.influence import index
from openledger.influence.lora import Adapter
from openledger.influence.quantize import QuantizeError
from services.factory.data import Example
from services.factory.progress import Diverged
from services.factory.training_run import TrainingRun

TRAINING_VERSION = "openledger.training.v1"
INDEX, TRAINING = "contribution_index.safetensors", adapters.TRAINING
MOMENT = "second_moment.safetensors"
FILES = ("adapter_config.json", "adapter_model.safetensors", INDEX, "metrics.json", TRAINING)


def folder(
    out: Path, run: TrainingRun, held_out: Sequence[Example], metrics: dict[str, int | float]
) -> tuple[tuple[str, ...], str]:
    """Write a run; returns the names of its files, and the contribution index's root in hex."""
    out.mkdir(parents=True, exist_ok=True)
    root = index_file(out, run)
    contents = (
        canonical.dumps(run.adapter.config.to_json()),
        adapter(run.adapter),
        canonical.dumps(metrics),
        canonical.dumps(training(run, held_out)),
    )
    for name, content in zip((name for name in FILES if name != INDEX), contents, strict=True):
        (out / name).write_bytes(content)
    (out / MOMENT).write_bytes(save({"v": run.shadows.second_moment()}))
    return FILES, root


def second_moment(folder: Path) -> Tensor:
    """Adam's at a finished run's end, over its bias correction [P].  Raises OSError, SafetensorError."""
    return load_file(folder / MOMENT)["v"]


def adapter(trained: Adapter) -> bytes:
    """Its weights as PEFT's file."""
    tensors = {name: tensor.clone() for name, tensor in trained.tensors.items()}
    return save(tensors, metadata={"format": "pt"})


def index_file(out: Path, run: TrainingRun) -> str:
    """Write the rows of whom the run follows; returns their index's root in hex."""
    return put_index(out, [contribution_index(run)])


def put_index(out: Path, indices: Sequence[index.ContributionIndex]) -> str:
    """Write one index of all their rows; returns its root in hex."""
    with (out / INDEX).open("wb") as file:
        file.writelines(index.joined(indices))
    return index.root(index.ContributionIndex.open(out / INDEX)).hex()


def contribution_index(run: TrainingRun) -> index.ContributionIndex:
    """A row for each contributor that the run follows, then the placebos'.  Raises Diverged."""
    header = index.Header(tuple(run.adapter.parameters), tuple(run.row), run.followed_placebos)
    try:
        return index.quantised(header, (run.shadows.vector(row).numpy() for row in range(header.rows)))
    except QuantizeError as error:
        raise Diverged(f"what contributors moved is beyond all measure ({error}): lower the learning rate") from error


def training(run: TrainingRun, held_out: Sequence[Example]) -> dict[str, Any]:
    """Who was in which step, and what each step showed: enough to train again without somebody.

    ``records`` lists what was trained on, in the order that ``batches`` counts; a canary's contributor is "".
    ``kept_step``: after which step the adapter was taken. ``losses`` has null for a step without a record. ``sizes``,
    where records were taken out of the batches and weigh 0: how many each step's loss is a mean over.
    """
    left_out = run.sizes != list(map(len, run.plan))
    return {
        "version": TRAINING_VERSION,
        "records": [[example.record, example.contributor] for example in run.training],
        "held_out": [[example.record, example.contributor] for example in held_out],
        "batches": run.plan,
        "losses": [loss if math.isfinite(loss) else None for loss in run.history.losses],
        "kept_step": run.done,
        "evaluations": [list(entry) for entry in run.history.evaluations],
        **({"sizes": run.sizes} if left_out else {}),
    }
