"""The work of one fine-tune in a worker of its own: verified records in, adapter and all that is told of it out.

    run by an executor as "services.factory.task:fine_tune"

A plain function of its arguments, which name every input by digest: the same arguments give the same files.  Where the
records lie is said by the environment.  Knows no database, no gRPC and no owner.
"""

from __future__ import annotations

import errno
import os
import resource
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from openledger import base_models
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.manifest import FILES
from services.factory import tell
from services.factory.data import load_tokenizer, tokenise
from services.factory.evaluation import canaries
from services.factory.lines import FOLDER, parse
from services.factory.spec import FineTuneSpec
from services.factory.train import Progress, Scratch, TrainResult, train
from services.factory.write import TRAINING
from services.kit.executor import Report, TaskContext

PUBLISHED = (*FILES, TRAINING, tell.EVALUATION, tell.CURVES)
"""What the lineage manifest names; the same run gives the same bytes."""


class NothingToTrainOn(ValueError):
    """Not one record of the snapshot can be used."""


class BaseChanged(ValueError):
    """The base model's weights are not those that the fine-tune was created for."""


class DiskFull(OSError):
    """There is no room for the worker's files."""


def fine_tune(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Train and evaluate.  arguments: see `services.factory.job.shard`; reports are `Progress` as JSON.

    Returns records, files (SHA-256 by name), index_root, contributors, metrics, verdict, dropped (count by code),
    seconds, and peak_memory_bytes.
    """
    try:
        return _fine_tune(arguments, context)
    except Exception as error:
        if is_disk_full(error):
            raise DiskFull(f"no room is left for the files of this fine-tune in {context.output.parent}") from error
        raise


def _fine_tune(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    start, output = time.monotonic(), context.output
    torch.set_num_threads(arguments["threads"])
    spec = FineTuneSpec.from_json(arguments["spec"])
    records = parse(ArtifactStore(Path(os.environ[FOLDER])).get(arguments["records"]))
    base = _base(spec.base, arguments["base_sha256"], context.report)
    tokenizer = load_tokenizer(base)
    tokenised = tokenise(records, spec, tokenizer)
    if not tokenised.examples:
        first = tokenised.refused[0]
        raise NothingToTrainOn(f"none of the {len(records)} records can be used; {first.record}: {first.reason}")
    planted = canaries.make(spec.canaries, spec.seed, tokenizer)

    def report(progress: Progress) -> None:
        context.report(asdict(progress))

    result = train(
        spec,
        tokenised.examples,
        base,
        output,
        report,
        canaries=[canary.example for canary in planted],
        scratch=Scratch(context.scratch),
    )
    judged = tell.evaluate(
        spec, tokenised.examples, planted, tokenizer, base, output, lambda: report(_measuring(result))
    )
    tell.curves(spec, output)
    return {
        "records": len(records),
        "files": {name: file_sha256(output / name) for name in PUBLISHED},
        "index_root": result.index_root,
        "contributors": result.contributors,
        "metrics": result.metrics | judged.metrics,
        "verdict": judged.verdict,
        "dropped": dict(sorted(Counter(refused.code for refused in tokenised.refused).items())),
        "seconds": time.monotonic() - start,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _measuring(result: TrainResult) -> Progress:
    steps = int(result.metrics["steps"])
    return Progress("measuring", steps, steps, result.losses[-1])


def _base(name: str, expected: str, report: Report) -> Path:
    """The base model's folder, made on first use."""
    report(asdict(Progress("base", 0, 0)))
    folder = base_models.locate(name)
    found = base_models.sha256(name)
    if found != expected:
        raise BaseChanged(f"the base model {name} has SHA-256 {found}, the fine-tune was created for {expected}")
    return folder


def is_disk_full(error: Exception) -> bool:
    """Also for libraries that write in another language and tell of it in words alone."""
    return getattr(error, "errno", None) == errno.ENOSPC or f"os error {errno.ENOSPC})" in str(error)
