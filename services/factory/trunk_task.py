"""The frozen layers over every record of a fine-tune, in a worker of its own, once for all work that trains on them.

    run by an executor as "services.factory.trunk_task:trunk"

It decides no bytes: whoever does not find it computes what is in it.  What people wrote can be read from activations,
so it is removed as soon as its fine-tune has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openledger.influence.decoder import Decoder
from services.factory import inputs, trainable
from services.factory.data import Example
from services.factory.lineage import TRUNK
from services.factory.passes import Trunk
from services.factory.progress import Reporter
from services.factory.schedule import evaluation_steps
from services.factory.spec import FineTuneSpec
from services.factory.training_run import load_base
from services.factory.work import Work
from services.kit.executor import NotFinished, Shard, TaskContext

PRELOAD = inputs.PRELOAD
TASK = "services.factory.trunk_task:trunk"
OF_RUN = ("spec", "base_sha256", "records", "threads", "code", "replay", "base")
"""A fine-tune's own arguments, which all of its further work has too."""


def shard(arguments: Mapping[str, Any]) -> Shard | None:
    """Of a fine-tune, or of whatever else has its arguments; None where no layer is frozen."""
    own = {name: arguments[name] for name in OF_RUN if name in arguments}
    return Shard(TASK, own) if own["spec"]["layers"] else None


def found(arguments: Mapping[str, Any], context: TaskContext) -> Path | None:
    """The file of activations that a task with these arguments can load, if it was made and is still there."""
    below = shard(arguments)
    if below is None:
        return None
    try:
        file = context.outputs(below.digest()) / TRUNK
    except NotFinished:
        return None
    return file if file.exists() else None


def trunk(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Every example's activations, training and held out.  arguments: the fine-tune's own; reports are `Progress`.

    Raises what `services.factory.task.fine_tune` does before it trains.
    """
    with inputs.room_in(context.output.parent):
        given = inputs.load(arguments, context.report)
        training, held_out = given.split()
        trainable.check(given.spec, [*training, *held_out])
        decoder = load_base(given.spec, given.base)
        trainable.check_base(given.spec, decoder, [*training, *held_out])
        work, steps = Work(given.spec, decoder), len(given.plan(training).batches)
        total = work.of_run(training, held_out, len(evaluation_steps(given.spec, steps)))
        reporter = Reporter(total, steps, lambda progress: context.report(asdict(progress)), lambda: False)
        made = prepared(
            given.spec, decoder, training, held_out, lambda n: reporter.report("preparing", n * work.trunk_layers)
        )
        made.save(context.output / TRUNK)
    return {"records": len(training) + len(held_out)}


def prepared(
    spec: FineTuneSpec,
    decoder: Decoder,
    training: Sequence[Example],
    held_out: Sequence[Example],
    on_tokens: Callable[[int], None] = lambda _: None,
) -> Trunk:
    """What is trained on in the run's precision, what is held out in float32."""
    made = Trunk(decoder, decoder.layers - spec.layers if spec.layers else 0)
    made.prepare(training, spec.precision, on_tokens)
    made.prepare(held_out, "float32", on_tokens)
    return made
