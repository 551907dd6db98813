"""What another number of threads changes in a fine-tune: sums are cut otherwise, and round otherwise.

    python -m bench threads                    the hpo-0 setting of ``bench lds``, with one thread and with two
    python -m bench threads --quick            few people and records, under a minute, the same code

Of two trainings that differ in nothing else: how far apart the weights end, of what training moved them by; how far
apart contributors' vectors end, and how many of their published int8 entries are others; and how much the scores of
held-out answers differ, in size and in the order in which they put contributors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from bench import result
from bench.lds import QUICK, SETTINGS
from bench.lds.study import Floats, Setting

THREADS = (1, 2)


@dataclass(frozen=True, eq=False)
class Trained:
    """One training: P weights, C contributors, Q queries."""

    start: Tensor
    """[P]"""
    theta: Tensor
    """[P]"""
    vectors: Tensor
    """[C, P]"""
    published: Tensor
    """[C, P], int8."""
    scores: Floats
    """[Q, C]"""


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/threads.json or threads-quick.json."""
    setting = QUICK if quick else SETTINGS["hpo-0"]
    one, other = (trained(setting, count) for count in THREADS)
    settings: dict[str, Any] = {"threads": list(THREADS), "setting": vars(setting)}
    print(result.write("threads-quick" if quick else "threads", figures(one, other), seed=0, settings=settings))


def trained(setting: Setting, threads: int) -> Trained:
    """With so many threads from the frozen layers on; the process has as many again afterwards as it had."""
    from bench.lds import estimates
    from bench.lds.study import Study
    from openledger.influence.quantize import quantise
    from services.factory.training_run import TrainingRun

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        study = Study(setting)
        run = study.run(TrainingRun)
        start = run.theta.clone()
        with run.attached():
            while run.done < len(run.plan):
                run.step()
            queries = estimates.at_the_end(study, run).queries
        vectors = run.shadows.vectors()[: setting.contributors].clone()
        sizes = [parameter.size for parameter in run.adapter.parameters]
        rows = [torch.from_numpy(np.asarray(quantise(row.numpy(), sizes).mantissas)) for row in vectors]
        scores = -(queries.double() @ vectors.double().T).numpy()
        return Trained(start, run.theta.clone(), vectors, torch.stack(rows), scores)
    finally:
        torch.set_num_threads(before)


def figures(one: Trained, other: Trained) -> dict[str, float]:
    """By name; lengths are Euclidean."""
    apart, length = (one.theta - other.theta).norm(), (one.theta - one.start).norm()
    far = (one.vectors - other.vectors).norm(dim=1) / one.vectors.norm(dim=1)
    wrong = np.sqrt(((one.scores - other.scores) ** 2).mean() / (one.scores**2).mean())
    order = [stats.spearmanr(a, b).statistic for a, b in zip(one.scores, other.scores, strict=True)]
    return {
        "same_bytes": float(torch.equal(one.theta, other.theta)),
        "weights_apart_of_their_way": float(apart / length),
        "vectors_apart_median": float(far.median()),
        "vectors_apart_most": float(far.max()),
        "int8_entries_that_differ": float((one.published != other.published).double().mean()),
        "scores_apart": float(wrong),
        "rank_correlation_mean": float(np.mean(order)),
        "rank_correlation_least": float(np.min(order)),
    }
