"""One training run, a step at a time: weights, optimizer and shadows, and what each step has shown.

The state between two steps is a set of tensors and numbers that can be taken out and put back in, bit for bit. This
module knows neither files nor when to stop.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openledger.influence.adapter_config import AdapterConfig
from openledger.influence.coupling import Coupling, blocks
from openledger.influence.coupling_dora import DoraCoupling
from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached, decomposed
from openledger.influence.per_example import PerExampleGradients
from openledger.influence.shadow import AdamW, Batch, ShadowTrajectories
from services.factory import nf4, parts
from services.factory.data import Example
from services.factory.passes import Curved, Trunk, batch_pass, evaluate
from services.factory.progress import Diverged
from services.factory.schedule import Plan, curved_records, learning_rate, seeded
from services.factory.spec import FineTuneSpec


@dataclass
class History:
    """What a run has shown so far."""

    before: list[float] = field(default_factory=list)
    """Held-out losses of the base, one a record, in nats per token."""
    losses: list[float] = field(default_factory=list)
    """Of each step's batch; NaN of one that has no record."""
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    """(steps done, mean held-out loss)."""

    @property
    def last_loss(self) -> float | None:
        """None of a step that had no record."""
        return self.losses[-1] if math.isfinite(self.losses[-1]) else None


class TrainingRun:
    """The state of one fine-tune."""

    def __init__(
        self,
        spec: FineTuneSpec,
        decoder: Decoder,
        training: Sequence[Example],
        part: int | None = 0,
        plan: Plan | None = None,
        trunk: Trunk | None = None,
    ) -> None:
        """part: which of the contributors it follows, see `parts`; None: nobody.  The weights' path is the same bits.

        plan: the steps, where others were left out of them.  trunk: of the same decoder, with what is prepared.
        """
        self.spec, self.decoder, self.training = spec, decoder, training
        plan = plan or Plan.of(spec, len(training))
        self.plan, self.sizes = plan.batches, plan.sizes
        self.adapter, self.theta = initial(spec, decoder)
        self._decomposed = decomposed(decoder.model, self.adapter)
        self.trunk = trunk or Trunk(decoder, min(self.adapter.config.layers))
        self.records = dict(sorted(Counter(e.contributor for e in training if e.contributor).items()))
        followed = [] if part is None else parts.members(spec, list(self.records), part)
        self.row = {address: row for row, address in enumerate(followed)}
        # Their records are drawn in every part, for they decide what curvature is estimated on and in which order
        # records are computed; the first part follows them.
        self.placebos = _placebos(spec, len(training), len(self.records))
        self.followed_placebos = spec.placebos if part == 0 else 0
        optimizer = AdamW(weight_decay=spec.weight_decay, clip_norm=spec.clip_norm)
        shadows = len(self.row) + self.followed_placebos
        self.shadows = ShadowTrajectories(blocks(self.adapter.parameters), shadows, optimizer)
        self.history = History()
        self._taps: PerExampleGradients | None = None

    @property
    def done(self) -> int:
        """Steps taken."""
        return self.shadows.steps

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While the adapter is on the model: steps can be taken and the tuned model evaluated."""
        with attached(self.decoder.model, self.adapter) as maps, PerExampleGradients(maps) as self._taps:
            yield

    def step(self) -> int:
        """Take the next step; returns the tokens in its batch. Raises Diverged."""
        assert self._taps is not None
        number, members, size = self.done, self.plan[self.done], self.sizes[self.done]
        examples = [self.training[i] for i in members]
        batch, loss = self._batch(number, members, size) if members else (self._nothing(), math.nan)
        try:
            self.update(batch, learning_rate(self.spec, number, len(self.plan)))
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise Diverged(
                f"the curvature of step {number + 1} cannot be solved for: lower the learning rate"
            ) from error
        self.history.losses.append(loss)
        if (members and not math.isfinite(loss)) or not bool(torch.isfinite(self.theta).all()):
            raise Diverged(f"the loss became {loss} at step {self.done} of {len(self.plan)}: lower the learning rate")
        return sum(example.length for example in examples)

    def _batch(self, number: int, members: Sequence[int], size: int) -> tuple[Batch, float]:
        """What a step's records say, and their mean loss."""
        assert self._taps is not None
        examples = [self.training[i] for i in members]
        owners = [[self.row[e.contributor]] if e.contributor in self.row else [] for e in examples]
        pretended = {k: [b for b, i in enumerate(members) if i in theirs] for k, theirs in enumerate(self.placebos)}
        curved = Curved(
            curved_records(self.spec, number, len(members), sorted({b for some in pretended.values() for b in some})),
            self.spec.curvature_samples if self.shadows.shadows else 0,
            seeded(self.spec.seed, f"curvature {number}"),
        )
        coupling = self.coupling(owners) if self.shadows.shadows else None
        result = batch_pass(self.trunk, self._taps, examples, self.spec.precision, curved, coupling, size)
        noise = {}
        for k in range(self.followed_placebos):
            if theirs := pretended[k]:
                noise[len(self.row) + k] = _noise([examples[b] for b in theirs], result.sampled(theirs), size)
        curved_owners = [owners[record] for record in result.curved]
        curvature = result.curvature
        if size != len(members):  # of a mean over all, also over those that weigh 0
            curvature.mul_(math.sqrt(len(members) / size))
        batch = Batch(result.gradient, owners, curvature, curved_owners, coupling, noise)
        return batch, float(result.loss.mean())

    def _nothing(self) -> Batch:
        """Of a step whose records all weigh 0: weights and moments go on as AdamW lets them."""
        nothing = torch.zeros(1, len(self.theta))
        return Batch(nothing, [[]], nothing, [[]])

    def coupling(self, owners: Sequence[Sequence[int]]) -> Coupling:
        """Of the next batch, for the shadows as they stand."""
        parameters, displacements = self.adapter.parameters, self.shadows.displacements
        if self.spec.dora:
            return DoraCoupling(parameters, self._decomposed, displacements, owners)
        return Coupling(parameters, displacements, owners)

    def update(self, batch: Batch, rate: float) -> None:
        """Move the weights, and every shadow."""
        self.shadows.step(self.theta, batch, rate)

    def evaluate(self, held_out: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of each held-out completion, [N] each; of the base outside ``attached``."""
        return evaluate(self.trunk, held_out)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next step depends on, and the history: tensors by name, and JSON."""
        numbers = {
            "steps": self.done,
            "before": self.history.before,
            "losses": self.history.losses,
            "evaluations": [list(entry) for entry in self.history.evaluations],
        }
        return {"theta": self.theta} | self.shadows.state(), numbers

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        self.theta.copy_(tensors["theta"])
        self.shadows.restore(tensors, numbers["steps"])
        evaluations = [(int(step), float(loss)) for step, loss in numbers["evaluations"]]
        self.history = History(list(numbers["before"]), list(numbers["losses"]), evaluations)


def load_base(spec: FineTuneSpec, folder: Path) -> Decoder:
    """The base model as the run trains on it. Raises BaseModelError."""
    decoder = Decoder.load(folder)
    if spec.quantise == "nf4":
        nf4.quantise(decoder)
    return decoder


def initial(spec: FineTuneSpec, decoder: Decoder) -> tuple[Adapter, Tensor]:
    """A fresh adapter, and its weights as one vector [P] that its tensors are views of: one addition updates all."""
    first = decoder.layers - spec.layers if spec.layers else 0
    layers = tuple(range(first, decoder.layers))
    config = AdapterConfig(spec.base, spec.rank, spec.alpha, spec.target_modules, layers, spec.rslora, spec.dora)
    adapter = Adapter.initialise(config, decoder.model, seeded(spec.seed, "initialise"))
    theta = torch.cat([adapter.tensors[parameter.name].flatten() for parameter in adapter.parameters])
    parts = torch.split(theta, [parameter.size for parameter in adapter.parameters])
    views = {p.name: part.view(p.shape) for p, part in zip(adapter.parameters, parts, strict=True)}
    return Adapter(adapter.config, views), theta


def _placebos(spec: FineTuneSpec, records: int, contributors: int) -> list[frozenset[int]]:
    """For each placebo the records it pretends to own: as many as the average contributor has, at random."""
    generator = seeded(spec.seed, "placebos")
    size = max(1, round(records / max(1, contributors)))
    return [frozenset(torch.randperm(records, generator=generator)[:size].tolist()) for _ in range(spec.placebos)]


def _noise(examples: Sequence[Example], sampled: Tensor, size: int) -> Tensor:
    """A placebo's part of the batch gradient: like a record's, the sum of T token gradients over T, but of random sign.

    sampled: per example 1 / sqrt(T) times the gradient of its tokens' randomly signed sampled-label losses: [b, P].
    """
    share = torch.tensor([len(example.completion) for example in examples]).rsqrt() / size
    return share @ sampled
