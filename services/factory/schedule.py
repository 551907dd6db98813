"""What a run does when: batches, learning rates, evaluations, and the random numbers of each purpose.

All of it follows from the specification and the number of records, so a run that goes on after a crash, and every
training again without somebody, takes the same steps. It knows no model and no data.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from services.factory.spec import FineTuneSpec


def seeded(seed: int, purpose: str) -> torch.Generator:
    """Independent random numbers for each purpose, so that one more draw here changes nothing there."""
    digest = hashlib.sha256(f"{purpose}\n{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def batches(spec: FineTuneSpec, records: int) -> list[list[int]]:
    """Which records each step takes: every epoch is one random order, and no record is left over."""
    generator = seeded(spec.seed, "order")
    order = torch.cat([torch.randperm(records, generator=generator) for _ in range(spec.epochs)])
    return [part.tolist() for part in torch.split(order, spec.batch_size)]


@dataclass(frozen=True)
class Plan:
    """Which records each step takes, as places in a list, and how many records its loss is a mean over."""

    batches: list[list[int]]
    sizes: list[int]
    """More than a batch has, where records were taken out that weigh 0."""

    @classmethod
    def of(cls, spec: FineTuneSpec, records: int) -> Plan:
        """Of a run on so many records."""
        taken = batches(spec, records)
        return cls(taken, list(map(len, taken)))

    def left(self, kept: Sequence[int]) -> Plan:
        """The same steps with only these records, in order; places are counted among them."""
        place = {old: new for new, old in enumerate(kept)}
        return Plan([[place[i] for i in members if i in place] for members in self.batches], self.sizes)


def learning_rate(spec: FineTuneSpec, step: int, steps: int) -> float:
    """Of a step (0-based): a linear rise over the first ``warm_up`` of all steps, times the schedule's decay."""
    rising = math.ceil(spec.warm_up * steps)
    rise = min(1.0, (step + 1) / rising) if rising else 1.0
    decay = {
        "cosine": 0.5 * (1 + math.cos(math.pi * step / steps)),
        "linear": 1 - step / steps,
        "constant": 1.0,
    }[spec.schedule]
    return spec.learning_rate * rise * decay


def evaluation_steps(spec: FineTuneSpec, steps: int) -> frozenset[int]:
    """After how many steps the held-out loss is measured while training: evenly spaced, the last step left out."""
    times = min(spec.evaluations, steps)
    return frozenset(round(steps * i / times) for i in range(1, times)) - {0, steps} if times else frozenset()


def curved_records(spec: FineTuneSpec, step: int, size: int, first: list[int]) -> list[int]:
    """Which of a batch's records its curvature is estimated on: a random choice, after those that must be in it."""
    order = torch.randperm(size, generator=seeded(spec.seed, f"curved {step}")).tolist()
    count = max(1, len(first), math.ceil(spec.curvature_share * size))
    return sorted((first + [i for i in order if i not in set(first)])[:count])
