"""One fine-tune, followed in several ways at once: with more or less curvature, without parts of the method, in halves.

From the same gradients, so that what differs between two ways is the way alone. Knows no queries and no scores.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openledger.influence.coupling import Coupling
from openledger.influence.parameters import Parameter
from openledger.influence.shadow import Batch, ShadowTrajectories
from services.factory.counterfactual import halves
from services.factory.spec import FineTuneSpec
from services.factory.training_run import TrainingRun

SAMPLES = FineTuneSpec().curvature_samples
"""Of the curvature, in the product; what is published is made with as many."""


HALVES = 64
"""Random halves of the contributors that are followed in the one run."""


@dataclass(frozen=True, eq=False)
class Followed:
    """Shadows of the run, who is missing in each, and from how much curvature they are predicted."""

    shadows: ShadowTrajectories
    samples: float
    """Of the curvature, a record; 0.5: one of every other record; 0: none."""
    without: Sequence[Sequence[int]]
    """For each contributor the shadows that run without it."""
    coupled: bool = True
    steps: int = 1
    """Over how many steps, this one last, the curvature's rows are kept; more rows for no more passes."""
    recent: deque[tuple[Tensor, list[list[int]]]] = field(default_factory=deque)

    def curvature(self, batch: Batch) -> tuple[Tensor, list[list[int]]]:
        """Rows [n, P] whose squares estimate the curvature, and the shadows that run without each row's record."""
        rows = math.ceil(self.samples * len(batch.owners))
        scale = math.sqrt(len(batch.curved) / max(rows, 1))
        self.recent.append((batch.curvature[:rows] * scale, self.owners(batch.curved[:rows])))
        while len(self.recent) > self.steps:
            self.recent.popleft()
        owners = [some for _, each in self.recent for some in each]
        return torch.cat([a for a, _ in self.recent]) / math.sqrt(len(self.recent)), owners

    def owners(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """For each record of a batch, given by its contributor, the shadows that run without it."""
        return [[shadow for contributor in some for shadow in self.without[contributor]] for some in rows]


class Variants:
    """Other ways to follow contributors through the same run, from the same gradients."""

    def __init__(self, run: TrainingRun, blocks: Sequence[int]) -> None:
        people, most = len(run.row), run.spec.curvature_samples
        alone = [[person] for person in range(people)]

        def follow(shadows: int, samples: float, without: Sequence[Sequence[int]], **more: Any) -> Followed:
            return Followed(ShadowTrajectories(blocks, shadows, run.shadows.optimizer), samples, without, **more)

        self.masks = halves(people, HALVES, run.spec.seed + 2)
        self.halves = follow(HALVES, min(SAMPLES, most), [np.flatnonzero(~has).tolist() for has in self.masks.T])
        self.people = {
            f"shadow, {count} sample{'s'[: count > 1]}": follow(people, count, alone)
            for count in (1, 2, 4)
            if count < most
        }
        self.people["shadow, 1 sample of half"] = follow(people, 0.5, alone)
        self.people["shadow, 1 sample of 4 steps"] = follow(people, 1, alone, steps=4)
        self.people["in-run exact"] = follow(people, 0, alone, coupled=False)
        self.people["shadow, no coupling"] = follow(people, most, alone, coupled=False)
        self.naive = torch.zeros(people, len(run.theta))
        self._naive_m = torch.zeros(people, len(run.theta))

    @property
    def all(self) -> list[Followed]:
        """Everything that is followed by shadows."""
        return [*self.people.values(), self.halves]

    def vectors(self) -> dict[str, Tensor]:
        """Displacements by name, [C, P] each."""
        return {"in-run naive": self.naive} | {name: each.shadows.vectors() for name, each in self.people.items()}

    def follow_naively(self, run: TrainingRun, batch: Batch, rate: float) -> None:
        """Each contributor's share of the update: its own first moment over everybody's denominator."""
        optimizer, step = run.shadows.optimizer, run.done + 1
        theirs = torch.zeros_like(self.naive)
        for row, owners in zip(batch.gradient, batch.owners, strict=True):
            for owner in owners:
                theirs[owner] += row
        self._naive_m.lerp_(theirs, 1 - optimizer.first)
        v = run.shadows.state()["v"] * optimizer.second + batch.gradient.sum(0).square() * (1 - optimizer.second)
        scale = (v / (1 - optimizer.second**step)).sqrt() + optimizer.epsilon
        self.naive -= rate / (1 - optimizer.first**step) * self._naive_m / scale


class StudiedRun(TrainingRun):
    """A fine-tune that is followed in several ways at once."""

    variants: Variants
    _couplings: list[Coupling | None]

    def follow(self) -> None:
        """Start following; before the first step."""
        self.variants = Variants(self, [block.shape[1] for block in self.shadows.displacements])

    def coupling(self, owners: Sequence[Sequence[int]]) -> Coupling:
        """The run's own, which hands on what it is given to the variants'."""
        parameters = self.adapter.parameters
        self._couplings = [
            Coupling(parameters, each.shadows.displacements, each.owners(owners)) if each.coupled else None
            for each in self.variants.all
        ]
        others = [coupling for coupling in self._couplings if coupling is not None]
        return _Shared(parameters, self.shadows.displacements, owners, others)

    def update(self, batch: Batch, rate: float) -> None:
        """Move the weights, the run's shadows, and all variants."""
        self.variants.follow_naively(self, batch, rate)
        for each, coupling in zip(self.variants.all, self._couplings, strict=True):
            part = Batch(batch.gradient, each.owners(batch.owners), *each.curvature(batch), coupling)
            each.shadows.step(self.theta.clone(), part, rate)
        super().update(batch, rate)


class _Shared(Coupling):
    """One that hands on to others of the same batch what it is given, and sums it for all of them."""

    def __init__(
        self,
        parameters: Sequence[Parameter],
        displacements: Sequence[Tensor],
        owners: Sequence[Sequence[int]],
        others: Sequence[Coupling],
    ) -> None:
        super().__init__(parameters, displacements, owners)
        self._others = others
        for coupling in others:
            coupling._sums = self._sums

    def leave_out(self, records: Sequence[int], inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> None:
        """See ``Coupling.leave_out``."""
        super().leave_out(records, inputs, deltas)
        for coupling in self._others:
            coupling.leave_out(records, inputs, deltas)
