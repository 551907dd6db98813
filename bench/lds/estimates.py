"""Every estimator of the study: from one training run, or from retrained models, to a score for each query and person.

Positive scores: the contributor made the answer more likely. This module measures no agreement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.lds import baselines, served
from bench.lds.followed import SAMPLES, StudiedRun
from bench.lds.study import Floats, Study, Truth
from openledger.influence import counterfactual, record_scores
from openledger.influence.coupling import Coupling
from openledger.influence.index import build
from openledger.influence.parameters import sizes
from openledger.influence.per_example import PerExampleGradients
from openledger.influence.quantize import NAT, dot, quantise
from services.factory.data import Example
from services.factory.passes import Curved, batch_pass, evaluate
from services.factory.training_run import TrainingRun


@dataclass(frozen=True, eq=False)
class End:
    """What the end of training shows."""

    queries: Tensor
    """Gradients of the queries' losses [Q, P]."""
    records: Tensor
    """Of the training records' [N, P]."""
    second_order: Callable[[Tensor], Floats]
    """Displacements [C, P] -> the part of each query's loss that is bilinear in them [Q, C]."""
    forward: Callable[[Tensor], Floats]
    """Displacements [C, P] -> by how much each query's loss is higher when they are taken back [Q, C]."""


def at_the_end(study: Study, run: TrainingRun) -> End:
    """Gradients at the end of training; call within ``run.attached``."""
    taps = run._taps
    assert taps is not None
    queries = _gradients(study, run, taps, study.queries)
    records = _gradients(study, run, taps, study.training)

    def forward(displacements: Tensor) -> Floats:
        theta, rises = run.theta.clone(), []
        before, _ = evaluate(study.trunk, study.queries)
        for row in displacements:
            run.theta.copy_(theta - row)
            rises.append(evaluate(study.trunk, study.queries)[0] - before)
        run.theta.copy_(theta)
        return torch.stack(rises, dim=1).double().numpy()

    def second_order(displacements: Tensor) -> Floats:
        return np.array([_bilinear(study, run, query, displacements) for query in range(len(study.queries))])

    return End(queries, records, second_order, forward)


def _gradients(study: Study, run: TrainingRun, taps: PerExampleGradients, examples: Sequence[Example]) -> Tensor:
    rows = []
    nobody = Coupling(run.adapter.parameters, run.shadows.displacements, [[]])
    curved = Curved([0], 1, torch.Generator())
    for example in examples:
        result = batch_pass(study.trunk, taps, [example], "float32", curved, nobody)
        rows.append(result.gradient[0])
    return torch.stack(rows)


def _bilinear(study: Study, run: TrainingRun, query: int, displacements: Tensor) -> Floats:
    """1/2 D^T K D for each displacement: what their two factors do to the query's loss together."""
    assert run._taps is not None
    widths = [block.shape[1] for block in run.shadows.displacements]
    parts = list(torch.split(displacements, widths, dim=1))
    coupling = Coupling(run.adapter.parameters, parts, [[]])
    batch_pass(study.trunk, run._taps, [study.queries[query]], "float32", Curved([0], 1, torch.Generator()), coupling)
    total = sum((part * coupling.product(k)).sum(1) for k, part in enumerate(parts))
    assert isinstance(total, Tensor)
    return (total / 2).double().numpy()


def of_everything(run: TrainingRun, end: End) -> record_scores.Gradients:
    """The end of training, as scorers of records look at it."""
    optimizer, state = run.shadows.optimizer, run.shadows.state()
    return record_scores.Gradients(
        end.queries.numpy(),
        end.records.numpy(),
        sizes(run.adapter.parameters),
        (state["v"] / (1 - optimizer.second**run.done)).numpy(),
        (state["m"] / (1 - optimizer.first**run.done)).numpy(),
    )


def scores(study: Study, truth: Truth, run: StudiedRun, end: End) -> dict[str, Floats]:
    """Every estimator's scores [Q, C]."""
    people = study.setting.contributors
    most = f"shadow, {run.spec.curvature_samples} samples"
    vectors = run.variants.vectors() | {most: run.shadows.vectors()[:people]}
    result = {name: _linear(end, each) for name, each in vectors.items()}
    paid = vectors.get(f"shadow, {SAMPLES} samples", vectors[most])
    result["shadow, as published (int8)"] = _published(run, end, paid)
    result["shadow, as the service scores"] = served.scores(study, run, paid)
    for name, each in (("shadow", paid), (most, vectors[most])):
        result[f"{name}, second order"] = _linear(end, each) + end.second_order(each)
        result[f"{name}, forward"] = end.forward(each)
    result |= _of_halves(run, end)
    result |= _of_records(study, run, end)
    result |= _of_texts(study)
    result |= _of_retrained(truth, end)
    best = result["shadow, second order"]
    return result | {"popularity": baselines.popularity(best), "shuffled": baselines.shuffled(best)}


def _linear(end: End, vectors: Tensor) -> Floats:
    return -(end.queries.double() @ vectors.double().T).numpy()


def _published(run: TrainingRun, end: End, vectors: Tensor) -> Floats:
    """Through the quantised index and quantised gradients, as receipts do it."""
    layout = run.adapter.parameters
    index = build(layout, dict(zip(run.row, vectors.numpy(), strict=True)))
    rows = [dot(index.vectors, index.exponents, quantise(row.numpy(), sizes(layout))) for row in end.queries]
    return -np.array([[value / NAT for value in row] for row in rows])


def _of_halves(run: StudiedRun, end: End) -> dict[str, Floats]:
    """From predicted models of random halves of the contributors: their weights, or their losses, on their masks."""
    masks, displacements = run.variants.masks, run.variants.halves.shadows.vectors()
    vectors = counterfactual.fit(masks, -displacements.double().numpy())
    return {
        f"shadow halves, {len(masks)}": _linear(end, torch.from_numpy(vectors)),
        f"shadow halves, {len(masks)}, forward": counterfactual.fit(masks, -end.forward(displacements).T).T,
    }


def _of_records(study: Study, run: TrainingRun, end: End) -> dict[str, Floats]:
    """The field's scorers on gradients at the end of training, summed over each contributor's records."""
    gradients = of_everything(run, end)
    scorers: dict[str, record_scores.RecordScorer] = dict(record_scores.SCORERS)
    for damping in (0.1, 1.0, 10.0, 100.0):
        scorers[f"fisher, damping {damping:g}"] = record_scores.Fisher(damping=damping)
        scorers[f"adam-fisher, damping {damping:g}"] = record_scores.Fisher(damping=damping, adam=True)
    owners, people = study.owners, study.setting.contributors
    return {name: record_scores.by_contributor(scorer(gradients), owners, people) for name, scorer in scorers.items()}


def _of_texts(study: Study) -> dict[str, Floats]:
    people = study.domain.contributors
    asked = [text.text for person in people for text in person.held_out]
    texts = [text.text for person in people for text in person.records]
    found: Mapping[str, npt.NDArray[np.float64]] = {
        "bm25": baselines.bm25(asked, texts),
        "embedding": baselines.embedding_cosine(asked, texts),
        "volume": baselines.volume(len(asked), texts),
    }
    owners = np.repeat(np.arange(len(people)), study.setting.records)
    return {name: record_scores.by_contributor(each, owners, len(people)) for name, each in found.items()}


def _of_retrained(truth: Truth, end: End) -> dict[str, Floats]:
    """From models that were really trained without some."""
    displacements = torch.from_numpy(truth.full - truth.left_out)
    result = {
        "leave-one-out, vectors": _linear(end, displacements),
        "leave-one-out, second order": _linear(end, displacements) + end.second_order(displacements),
        "leave-one-out, forward": truth.rises,
    }
    for count in (8, 16, 32):
        if count <= len(truth.fitted_masks):
            masks = truth.fitted_masks[:count]
            vectors = counterfactual.fit(masks, truth.fitted_weights[:count])
            result[f"fitted vectors, {count}"] = _linear(end, torch.from_numpy(vectors))
            result[f"forward regression, {count}"] = counterfactual.fit(masks, truth.fitted_outcomes[:count]).T
    return result
