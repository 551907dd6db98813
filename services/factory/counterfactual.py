"""Train again as if some contributors had not been there: same initial weights, same batches, their records weigh 0.

What results differs from the run itself by their data alone. The frozen trunk's activations are computed once and
shared by all of these trainings. This module does not know what the models are compared for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openledger.influence.lora import attached
from openledger.influence.shadow import AdamW, Batch, ShadowTrajectories
from services.factory.data import Example
from services.factory.passes import Trunk, batch_gradient, evaluate
from services.factory.progress import Diverged
from services.factory.schedule import batches, learning_rate
from services.factory.spec import FineTuneSpec
from services.factory.training_run import initial


class Retraining:
    """Trains on the same examples with other members, time and again."""

    def __init__(self, spec: FineTuneSpec, trunk: Trunk, training: Sequence[Example]) -> None:
        """trunk: with the examples' activations prepared."""
        self.spec, self.trunk, self.training = spec, trunk, training
        self.plan = batches(spec, len(training))

    def run(
        self, without: Collection[str], queries: Sequence[Example] = (), steps: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Weights [P] of the model without those contributors, and the queries' mean NLL under it [Q].

        steps: stop after so many; None: at the end of the schedule.  Raises Diverged.
        """
        adapter, theta = initial(self.spec, self.trunk.decoder)
        optimizer = AdamW(weight_decay=self.spec.weight_decay, clip_norm=self.spec.clip_norm)
        trajectory = ShadowTrajectories([len(theta)], 0, optimizer)
        nobody = torch.zeros(0, len(theta))
        with attached(self.trunk.decoder.model, adapter) as maps:
            weights = [linear.weight for linear in maps.values()]
            for number, members in enumerate(self.plan[:steps]):
                kept = [self.training[i] for i in members if self.training[i].contributor not in without]
                gradient = batch_gradient(self.trunk, weights, kept, len(members), self.spec.precision)
                rate = learning_rate(self.spec, number, len(self.plan))
                trajectory.step(theta, Batch(gradient[None], [[]], nobody, []), rate)
            if not bool(torch.isfinite(theta).all()):
                raise Diverged("the weights are no longer finite numbers: lower the learning rate")
            losses, _ = evaluate(self.trunk, queries)
        return theta, losses


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
