"""The work of one fine-tune in a worker of its own: verified records in, adapter and all that is told of it out.

    run by an executor as "services.factory.task:fine_tune"

A plain function of its arguments, which name every input by digest: the same arguments give the same files.  Knows no
database, no gRPC and no owner.
"""

from __future__ import annotations

import math
import resource
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from openledger.artifacts import file_sha256
from openledger.manifest import FILES
from services.factory import effects, inputs, tell, trunk_task
from services.factory.inputs import BaseChanged, DiskFull, NothingToTrainOn
from services.factory.train import Progress, Scratch, TrainResult, train
from services.factory.write import TRAINING
from services.kit.executor import TaskContext

__all__ = ["PRELOAD", "PUBLISHED", "BaseChanged", "DiskFull", "NothingToTrainOn", "fine_tune"]

PRELOAD = inputs.PRELOAD
PUBLISHED = (*FILES, TRAINING, effects.FILE, tell.EVALUATION, tell.CURVES)
"""What the lineage manifest names; the same run gives the same bytes."""


def fine_tune(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Train and evaluate.  arguments: see `services.factory.run_shard.shard`; reports are `Progress` as JSON.

    Returns records, files (SHA-256 by name), index_root, contributors, metrics, verdict, dropped (count by code),
    seconds, and peak_memory_bytes.
    """
    with inputs.room_in(context.output.parent):
        return _fine_tune(arguments, context)


def _fine_tune(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    start, output = time.monotonic(), context.output
    given = inputs.load(arguments, context.report)
    spec, examples = given.spec, given.tokenised.examples

    def report(progress: Progress) -> None:
        context.report(asdict(progress))

    result = train(
        spec,
        examples,
        given.base,
        output,
        report,
        canaries=given.canaries,
        scratch=Scratch(context.scratch),
        replay=given.replay,
        below=trunk_task.found(arguments, context),
    )
    training, held_out = given.split()
    own = [example for example in training if example.contributor]
    judged = tell.evaluate(
        spec, own, held_out, given.planted, given.tokenizer, given.base, output, lambda: report(_measuring(result))
    )
    tell.curves(spec, output)
    counted = {"records_credited_to_others": given.tokenised.credited_to_others}
    if given.replay is not None:  # all are credited as they were in the run that is taken again
        counted = {}
    return {
        "records": given.records,
        "files": {name: file_sha256(output / name) for name in PUBLISHED},
        "index_root": result.index_root,
        "contributors": result.contributors,
        "metrics": result.metrics | judged.metrics | counted,
        "verdict": judged.verdict,
        "dropped": dict(sorted(Counter(refused.code for refused in given.tokenised.refused).items())),
        "seconds": time.monotonic() - start,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _measuring(result: TrainResult) -> Progress:
    steps = int(result.metrics["steps"])
    losses = list(filter(math.isfinite, result.losses))
    return Progress("measuring", steps, steps, losses[-1] if losses else None)
