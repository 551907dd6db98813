"""The further parts of one fine-tune's contributors, each followed in a worker of its own, and one index of them all.

    run by an executor as "services.factory.parts_task:follow" and ":join"

Plain functions of their arguments, which name every input by digest (`services.factory.parts`): the same arguments give
the same files. A part takes the steps of the run again, without looking at anything held out, and must come to the
run's own weights, bit by bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from openledger.artifacts import file_sha256
from openledger.influence.index import ContributionIndex
from openledger.influence.lora import Adapter
from services.factory import effects, inputs, parts, tell, trunk_task, write
from services.factory.data import Example
from services.factory.lineage import PRIVATE_EVALUATION
from services.factory.progress import Progress
from services.factory.task import PUBLISHED
from services.factory.train import Scratch, advance
from services.factory.training_run import TrainingRun, load_base
from services.factory.write import INDEX
from services.kit.executor import TaskContext

PRELOAD = inputs.PRELOAD


class WeightsDiffer(RuntimeError):
    """A part has come to other weights than the run whose contributors it follows."""


def follow(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Train as the run did, and learn what each contributor of one part did to it.

    arguments: the fine-tune's own, with run (its digest), steps, and part. Leaves their contribution index and effects.
    Raises WeightsDiffer, and what `services.factory.task.fine_tune` raises.
    """
    with inputs.room_in(context.output.parent):
        run, held_out = followed(inputs.load(arguments), arguments, context)
        _check(run, context.outputs(arguments["run"]), arguments["part"])
        write.index_file(context.output, run)
        effects.write(context.output, run, held_out)
    return {"contributors": len(run.row)}


def followed(
    given: inputs.Inputs,
    arguments: dict[str, Any],
    context: TaskContext,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[TrainingRun, list[Example]]:
    """A run at its end that followed one part, and the held-out records, whose activations are prepared.

    arguments: the fine-tune's own, with steps, and part.  Goes on where a killed attempt stood.
    """
    training, held_out = given.split()
    base, plan = load_base(given.spec, given.base), given.plan(training)
    run = TrainingRun(given.spec, base, training, arguments["part"], plan)
    below = trunk_task.found(arguments, context)
    advance(run, arguments["steps"], Scratch(context.scratch), below, on_progress)
    if below is None:
        run.trunk.prepare(held_out, "float32", lambda _: None)
    else:
        run.trunk.load(below, held_out)
    return run, held_out


def join(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """The run's files, with everybody in the contribution index.  arguments: run and parts (digests).

    Returns index_root, and files (SHA-256 by name) that are not the run's own.
    """
    run, output = context.outputs(arguments["run"]), context.output
    folders = [run, *map(context.outputs, arguments["parts"])]
    with inputs.room_in(output.parent):
        for name in (*PUBLISHED, PRIVATE_EVALUATION, *tell.PICTURES):
            if (
                name not in (INDEX, effects.FILE) and (run / name).exists()
            ):  # the private one goes when a record is erased
                shutil.copyfile(run / name, output / name)
        root = write.put_index(output, [ContributionIndex.open(folder / INDEX) for folder in folders])
        effects.join(output, folders)
        tell.contributors(output)
    return {"index_root": root, "files": {name: file_sha256(output / name) for name in (INDEX, effects.FILE)}}


def _check(run: TrainingRun, trained: Path, part: int) -> None:
    """Raises WeightsDiffer."""
    own, its = run.adapter.tensors, Adapter.load(trained).tensors
    if own.keys() != its.keys() or not all(torch.equal(own[name], its[name]) for name in own):
        raise WeightsDiffer(
            f"part {part + 1} of {parts.count(run.spec, len(run.records))} of the contributors came to other weights "
            "than the training itself, since its worker computes otherwise: run all workers on the same kind of "
            f"machine, or set contributors_at_once to {len(run.records)} or more"
        )
