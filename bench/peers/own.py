"""Our methods: shadow trajectories as they are paid by, and the field's scorers on full gradients and on sketches."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from bench.lds.study import Floats
from bench.peers.arm import Arm
from bench.peers.scene import Scene, measured
from openledger.influence import drill_down, record_scores
from openledger.influence.index import build
from openledger.influence.metric import Metric
from openledger.influence.parameters import sizes
from openledger.influence.quantize import NAT, dot, quantise
from openledger.influence.record_sketches import Rows
from openledger.influence.sketch import Answer, Projection, Signs
from services.factory import passes
from services.factory.data import Example

LIBRARY = "openledger"
SCORERS = ("gradient-dot", "gradient-cosine", "datainf", "adam-cosine")
SKETCHED = "adam-cosine"
SEED = "bench"


def gradients(scene: Scene, examples: list[Example]) -> Tensor:
    """Of each example's mean NLL [n, P]."""
    assert scene.run._taps is not None
    return passes.gradients(scene.study.trunk, scene.run._taps, examples)


def arms(scene: Scene) -> list[Arm]:
    """All of them."""
    with measured() as records_cost:
        records = gradients(scene, scene.study.training).numpy()
    queries = gradients(scene, scene.study.queries).numpy()
    with measured() as query_cost:
        gradients(scene, scene.study.queries[:1])
    everything = record_scores.Gradients(queries, records, sizes(scene.run.adapter.parameters), *_moments(scene))
    result = [_shadow(scene, queries, query_cost.seconds)]
    for name in SCORERS:
        one = record_scores.Gradients(queries[:1], records, everything.sizes, *_moments(scene))
        with measured() as cost:
            record_scores.SCORERS[name](one)
        result.append(
            Arm(
                LIBRARY,
                name,
                _summed(scene, record_scores.SCORERS[name](everything)),
                records_cost.seconds,
                query_cost.seconds + cost.seconds,
                max(records_cost.megabytes, query_cost.megabytes, cost.megabytes),
                records.nbytes,
                "records",
            )
        )
    return [*result, _sketched(scene, everything, records_cost.seconds, query_cost.seconds)]


def _moments(scene: Scene) -> tuple[Floats, Floats]:
    run = scene.run
    optimizer, state = run.shadows.optimizer, run.shadows.state()
    return (
        (state["v"] / (1 - optimizer.second**run.done)).numpy(),
        (state["m"] / (1 - optimizer.first**run.done)).numpy(),
    )


def _summed(scene: Scene, scores: Floats) -> Floats:
    return record_scores.by_contributor(scores, scene.study.owners, scene.people)


def _shadow(scene: Scene, queries: Floats, gradient_seconds: float) -> Arm:
    """Through the quantised index and quantised gradients, as receipts do it."""
    layout, rows = scene.run.adapter.parameters, scene.run.shadows.vectors()[: scene.people].numpy()
    index = build(layout, dict(zip(scene.run.row, rows, strict=True)))

    def score(query: Floats) -> list[float]:
        return [-value / NAT for value in dot(index.vectors, index.exponents, quantise(query, sizes(layout)))]

    with measured() as cost:
        score(queries[0])
    return Arm(
        LIBRARY,
        "shadow trajectories, as paid by",
        np.array([score(query) for query in queries]),
        scene.following.seconds,
        gradient_seconds + cost.seconds,
        max(scene.following.megabytes, cost.megabytes),
        len(index.to_bytes()),
        "contributors",
    )


def _sketched(scene: Scene, everything: record_scores.Gradients, records: float, query: float) -> Arm:
    """The product's drill-down to records: 4 KB of each one's gradient in Adam's metric."""
    way = drill_down.SCORERS[SKETCHED]
    metric = Metric.of(way.kind, everything.adam(), everything.sizes)
    projection = Projection(sum(everything.sizes), SEED)
    with measured() as preparing:
        balanced, norms = metric.records(everything.records, None)
        signs = Signs.of(balanced, projection)
        rows = Rows(np.arange(len(balanced), dtype=np.uint64), norms.astype(np.float32), signs)
    answers = metric.answers(everything.queries)
    with measured() as cost:
        drill_down.score(rows, Answer.of(metric.answers(everything.queries[:1])[0], projection), SKETCHED)
    scores = np.stack([drill_down.score(rows, Answer.of(answer, projection), SKETCHED) for answer in answers])
    return Arm(
        LIBRARY,
        f"{SKETCHED}, by sketches",
        _summed(scene, scores),
        records + preparing.seconds,
        query + cost.seconds,
        max(preparing.megabytes, cost.megabytes),
        sum(each.nbytes for each in (signs.signs, signs.scales, rows.norms, rows.leaves)),
        "records",
    )
