"""Train again as if some contributors had not been there: same initial weights, same batches, their records weigh 0.

What results differs from the run itself by their data alone: it takes the run's own steps, and without leaving anybody
out it comes to the run's own weights, bit by bit. The frozen trunk's activations are computed once and shared by all of
these trainings. This module does not know what the models are compared for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from services.factory.data import Example
from services.factory.passes import Trunk
from services.factory.schedule import Plan
from services.factory.spec import FineTuneSpec
from services.factory.training_run import TrainingRun


class Retraining:
    """Trains on the same examples with other members, time and again."""

    def __init__(self, spec: FineTuneSpec, trunk: Trunk, training: Sequence[Example], plan: Plan | None = None) -> None:
        """trunk: with the examples' activations prepared.  plan: the run's, where it left somebody out itself."""
        self.spec, self.trunk, self.training = spec, trunk, training
        self.plan = plan or Plan.of(spec, len(training))

    def run(
        self, without: Collection[str], queries: Sequence[Example] = (), steps: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Weights [P] of the model without those contributors, and the queries' mean NLL under it [Q].

        steps: stop after so many; None: at the end of the schedule.  Raises Diverged.
        """
        run = self.trained(without, steps)
        with run.attached():
            losses, _ = run.evaluate(queries)
        return run.theta, losses

    def trained(
        self, without: Collection[str], steps: int | None = None, on_step: Callable[[int, int], None] = lambda *_: None
    ) -> TrainingRun:
        """The run without those contributors, which follows nobody, after so many steps.  Raises Diverged.

        on_step: is told how many are done, and of how many, after each.
        """
        kept = [i for i, example in enumerate(self.training) if example.contributor not in without]
        examples, plan = [self.training[i] for i in kept], self.plan.left(kept)
        run = TrainingRun(self.spec, self.trunk.decoder, examples, None, plan, self.trunk)
        with run.attached():
            for _ in plan.batches[:steps]:
                run.step()
                on_step(run.done, len(plan.batches[:steps]))
        return run


def halves(contributors: int, count: int, seed: int) -> npt.NDArray[np.bool_]:
    """Membership masks [count, contributors] of random halves, all different as long as there are enough."""
    draw = np.random.default_rng(seed)
    masks: list[npt.NDArray[np.bool_]] = []
    seen: set[bytes] = set()
    for attempt in range(100 * count):
        mask = np.zeros(contributors, dtype=bool)
        mask[draw.permutation(contributors)[: contributors // 2]] = True
        if mask.tobytes() not in seen or attempt >= 50 * count:
            masks.append(mask)
            seen.add(mask.tobytes())
        if len(masks) == count:
            break
    return np.array(masks, dtype=bool).reshape(count, contributors)
