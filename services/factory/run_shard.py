"""The training of a fine-tune as a piece of work, by whose name it is found again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.factory import provenance
from services.factory.model import FineTune
from services.kit.executor import Shard

TASK = "services.factory.task:fine_tune"


def shard(job: FineTune) -> Shard:
    """Named by everything that decides its bytes.

    Trainings again change nothing of it: a run that is made once more with them, or without, is found.
    """
    arguments: dict[str, Any] = {
        "spec": replace(job.spec, halves=0, leave_one_out=False).to_json(),
        "base_sha256": job.base_sha256,
        "records": job.records,
        "threads": job.threads,
        "code": provenance.key(),
    }
    if job.replaces is not None:
        arguments["replay"] = {"training": job.replaces.training, "without": list(job.replaces.without)}
    return Shard(TASK, arguments)
