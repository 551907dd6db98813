"""The training of a fine-tune as a piece of work, by whose name it is found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.factory import provenance
from services.factory.model import FineTune
from services.factory.spec import FineTuneSpec
from services.kit.executor import Shard

TASK = "services.factory.task:fine_tune"


def shard(job: FineTune) -> Shard:
    """Named by everything that decides its bytes."""
    again = None if job.replaces is None else replay(job.replaces.training, job.replaces.without)
    return Shard(TASK, arguments(job.spec, job.base_sha256, job.records, job.threads, again))


def arguments(
    spec: FineTuneSpec,
    base_sha256: str,
    records: str,
    threads: int,
    again: dict[str, Any] | None = None,
    base: str | None = None,
) -> dict[str, Any]:
    """Of a run, and of all further work on it.  records: their digest; again: see `replay`.

    base: what the specification's base model is called here, where that is not its name.

    Trainings again change nothing of it: a run that is made once more with them, or without, is found.
    """
    return {
        "spec": replace(spec, halves=0, leave_one_out=False).to_json(),
        "base_sha256": base_sha256,
        "records": records,
        "threads": threads,
        "code": provenance.key(),
        **({} if again is None else {"replay": again}),
        **({} if base is None else {"base": base}),
    }


def replay(training: str, without: Sequence[str]) -> dict[str, Any]:
    """That a run takes another one again without some.  training: SHA-256 of its training.json."""
    return {"training": training, "without": list(without)}
