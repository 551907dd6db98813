"""What all methods are asked about: one adapter, the records that it was tuned on, answers, and what retraining says.

Either the fine-tune is followed once more, as in the product, or its weights are those that the study of retraining has
kept. This module knows no methods.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.lds.study import Study, Truth
from services.factory.counterfactual import Retraining
from services.factory.training_run import TrainingRun

RESET_PEAK = "5"
"""Written to /proc/self/clear_refs: the process's peak memory starts anew (Linux, proc_pid_clear_refs(5))."""
ROUNDING = 0.05
"""Of the way that weights went: what other products' rounding may make of a training in bfloat16."""


@dataclass
class Cost:
    """Of a piece of work."""

    seconds: float = 0.0
    """CPU time of this process, all threads."""
    megabytes: float = 0.0
    """The most memory that was resident at once, less what was before."""


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what is done inside; the cost is filled in at the end."""
    cost = Cost()
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    before, begun = _resident("VmRSS"), time.process_time()
    yield cost
    cost.seconds = time.process_time() - begun
    cost.megabytes = _resident("VmHWM") - before


def _resident(which: str) -> float:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(words[1]) / 1024 for words in lines if words[0] == f"{which}:")


@dataclass(frozen=True, eq=False)
class Scene:
    """One setting of the LDS study after its fine-tune. Use within ``run.attached``."""

    study: Study
    truth: Truth
    run: TrainingRun
    following: Cost
    """What following the contributors adds to the fine-tune."""

    @property
    def people(self) -> int:
        """Contributors."""
        return self.study.setting.contributors


def ended(study: Study, truth: Truth) -> Scene:
    """With the weights of the model that retraining is compared with; nobody was followed."""
    run = TrainingRun(study.spec, study.decoder, study.training, None, trunk=study.trunk)
    run.theta.copy_(torch.from_numpy(truth.full))
    return Scene(study, truth, run, Cost())


def followed(study: Study, truth: Truth) -> Scene:
    """Tune without following anybody, and then once more, following contributors.

    Raises SystemExit where that does not come to the model that retraining is compared with, up to rounding.
    """
    trunk = study.trunk  # prepared before anything is measured
    with measured() as plain:
        Retraining(study.spec, trunk, study.training).run([])
    run = study.run(TrainingRun)
    start = run.theta.clone()
    with run.attached(), measured() as following:
        while run.done < len(run.plan):
            run.step()
    full = torch.from_numpy(truth.full)
    if (run.theta - full).norm() > ROUNDING * (full - start).norm():
        raise SystemExit("the retrained models in the cache are of another training: remove them, and run again")
    return Scene(study, truth, run, Cost(following.seconds - plain.seconds, following.megabytes))
