"""Which trainings again a fine-tune asks for, as shards of work that name each other by digest.

    run -> one shard for each training again -> fit, all on one trunk

A training again is named by what it is made from and by who is left out, not by how many others there are: whoever
asks for more of them later finds these.  This module neither trains nor runs anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from services.factory import trunk_task
from services.factory.counterfactual import halves
from services.factory.spec import FineTuneSpec
from services.kit.executor import Shard

TASKS = "services.factory.counterfactual_task"
FEWEST, FEWEST_OF_HALVES = 2, 4
"""Contributors: of one nobody can be left out, and of three there are but three halves."""


class TooFewContributors(ValueError):
    """The trainings again that are asked for need more contributors; the message says how many."""


@dataclass(frozen=True)
class Plan:
    """All of the shards."""

    trunk: Shard | None
    """The frozen layers over every example, where there are frozen layers below the adapter's."""
    retrainings: tuple[Shard, ...]
    fit: Shard


def fewest(spec: FineTuneSpec) -> int:
    """Contributors that the trainings again need."""
    return FEWEST_OF_HALVES if spec.halves else FEWEST if spec.leave_one_out else 0


def check(spec: FineTuneSpec, contributors: int) -> None:
    """Raises TooFewContributors."""
    if contributors < (need := fewest(spec)):
        whose = "all records are one contributor's" if contributors == 1 else f"there are {contributors} contributors"
        asked = "halves" if spec.halves else "leave_one_out"
        raise TooFewContributors(
            f"{asked} needs the records of at least {need} contributors, and {whose}: create it again without {asked}"
        )


def training_without(run: Shard, without: Sequence[str], steps: int) -> Shard:
    """One training again.  run and steps: as `plan` takes them."""
    return training_again({**run.arguments, "steps": steps}, without)


def training_again(arguments: Mapping[str, Any], without: Sequence[str]) -> Shard:
    """The same.  arguments: a fine-tune's own, with steps."""
    return Shard(f"{TASKS}:retrain", {**arguments, "without": list(without)})


def plan(
    run: Shard,
    spec: FineTuneSpec,
    contributors: Sequence[str],
    steps: int,
    indexed: Shard | None = None,
) -> Plan:
    """run: the fine-tune's own shard, finished; steps: after which its adapter was taken.

    contributors: addresses that it was trained on.
    indexed: the shard with everybody's contribution index, where that is not the run's (`parts`).
    """
    people = sorted(contributors)

    def retraining(without: Sequence[str]) -> Shard:
        return training_without(run, without, steps)

    everybody = [retraining(())] if spec.leave_one_out else []
    left_out = [retraining([who]) for who in people] if spec.leave_one_out else []
    masks = draw(len(people), spec.halves, spec.seed)
    half = [retraining([who for who, member in zip(people, mask, strict=True) if not member]) for mask in masks]
    names = {"everybody": everybody, "left_out": left_out, "halves": half}
    fit = Shard(
        f"{TASKS}:fit",
        {
            **run.arguments,
            "run": (indexed or run).digest(),
            "steps": steps,
            "asked_halves": spec.halves,
            "masks": ["".join("01"[member] for member in mask) for mask in masks.tolist()],
            **{name: [shard.digest() for shard in shards] for name, shards in names.items()},
        },
    )
    return Plan(trunk_task.shard(run.arguments), (*everybody, *left_out, *half), fit)


def draw(contributors: int, count: int, seed: int) -> npt.NDArray[np.bool_]:
    """Members [K, contributors] of random halves, all different: K is count, or as many as there are."""
    drawn = halves(contributors, distinct(contributors, count), seed)
    first = np.sort(np.unique(drawn, axis=0, return_index=True)[1])
    return drawn[first]


def distinct(contributors: int, count: int) -> int:
    """How many of so many halves can be different."""
    return min(count, comb(contributors, contributors // 2))


def trainings(spec: FineTuneSpec, contributors: int) -> int:
    """How many there will be; 0 for fewer contributors than they need."""
    if contributors < fewest(spec):
        return 0
    return distinct(contributors, spec.halves) + (contributors + 1 if spec.leave_one_out else 0)


def tokens(spec: FineTuneSpec, contributors: int, trained: int) -> int:
    """That are trained on again, about, where the run itself trains on so many.

    Everybody's once, and all but each one's; half of them for each half.
    """
    if contributors < fewest(spec):
        return 0
    left_out = contributors * trained if spec.leave_one_out else 0
    return left_out + distinct(contributors, spec.halves) * trained // 2


def cost(spec: FineTuneSpec) -> float:
    """Of a token that is trained on again, in those of the run itself: no curvature and no coupling (see ``work``)."""
    return 2 / (3 + spec.curvature_samples * spec.curvature_share)
