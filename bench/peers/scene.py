"""What all methods are asked about: one adapter, the records that it was tuned on, answers, and what retraining says.

The fine-tune is followed once, as in the product, and every state of its weights is kept for methods that want to look
at the path. This module knows no methods.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.lds.study import Study, Truth
from services.factory.counterfactual import Retraining
from services.factory.schedule import learning_rate
from services.factory.training_run import TrainingRun

RESET_PEAK = "5"
"""Of /proc/self/clear_refs: the process's peak memory starts anew (Linux, proc_pid_clear_refs(5))."""


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
class Step:
    """One of the fine-tune, as it was before it was taken."""

    theta: Tensor
    """Weights [P]."""
    members: list[int]
    """The batch: indices of records."""
    rate: float


@dataclass(frozen=True, eq=False)
class Scene:
    """One setting of the LDS study after its fine-tune. Use within ``run.attached``."""

    study: Study
    truth: Truth
    run: TrainingRun
    path: list[Step]
    followed: Cost
    """Of the fine-tune that follows contributors."""
    plain: Cost
    """Of the same that follows nobody."""

    @property
    def people(self) -> int:
        """Contributors."""
        return self.study.setting.contributors


def play(study: Study, truth: Truth) -> Scene:
    """Tune without following anybody, and then once more, following contributors.

    Raises SystemExit where that does not come to the weights of the full model that retraining is compared with.
    """
    trunk = study.trunk  # prepared before anything is measured
    with measured() as plain:
        Retraining(study.spec, trunk, study.training).run([])
    run, path = study.run(TrainingRun), []
    seconds, megabytes = 0.0, 0.0
    with run.attached():
        while run.done < len(run.plan):
            rate = learning_rate(study.spec, run.done, len(run.plan))
            path.append(Step(run.theta.clone(), list(run.plan[run.done]), rate))
            with measured() as step:
                run.step()
            seconds, megabytes = seconds + step.seconds, max(megabytes, step.megabytes)
    if not torch.equal(run.theta, torch.from_numpy(truth.full)):
        raise SystemExit(
            "the retrained models in the cache are not this machine's: remove them, and they are made anew"
        )
    return Scene(study, truth, run, path, Cost(seconds, megabytes), plain)
