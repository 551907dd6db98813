"""How far scores lie from what really retraining says, and which standard error says so best.

    python -m bench errors                     the settings of SETTINGS, from those of ``bench lds``
    python -m bench errors --quick             a small one, under a minute

A score estimates by how much an answer's loss rises without a contributor; retraining without it tells. Candidates for
the standard error of contributor c's score of answer q, where p are placebos' scores of q and |D| lengths of vectors:

- placebo:   rms(p), one for all contributors;
- length:    rms(p) |D_c| / rms(|D_p|): noise of the contributor's own size, by all placebos or a few;
- jackknife: over the T tensors of the adapter, each left out once.

What the errors mean in money, `bench.doubt` says. Models that were retrained are shared with ``bench lds``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from bench import doubt, result
from bench.lds import QUICK, SETTINGS
from bench.lds.study import Floats, Setting
from openledger.influence.parameters import sizes
from openledger.split import Rule

NAMES = ("hpo-0", "docstrings-0")
PLACEBOS = 32
"""As many as show what few of them lose."""
FEW = 8


def main(*, quick: bool, settings: Sequence[str] = NAMES) -> None:
    """Measure; writes bench/results/errors.json or errors-quick.json."""
    chosen = [QUICK] if quick else [SETTINGS[name] for name in settings]
    write("errors-quick" if quick else "errors", [row for setting in chosen for row in measure(setting)])


def write(name: str, found: Sequence[Mapping[str, Any]]) -> None:
    """The result."""
    errors = [row for row in found if "error" in row]
    figures = {f"{row['error']}_{row['setting']}": row["rms"] for row in errors}
    figures |= {f"wrong_{row['setting']}": row["wrong"] for row in errors if "wrong" in row}
    for row in found:
        if row.get("z") == Rule().noise_z_milli / 1_000:
            about = f"{row['setting']}_{row['answers']}"
            figures |= {f"wrongly_paid_{about}": row["wrong"], f"unattributed_{about}": row["unattributed"]}
    settings = {"placebos": PLACEBOS, "few": FEW}
    print(result.write(name, figures, seed=0, settings=settings, rows=list(found)))


def measure(setting: Setting) -> list[dict[str, Any]]:
    """Rows of one setting."""
    from bench.lds import estimates
    from bench.lds.study import Study
    from services.factory.training_run import TrainingRun

    study = Study(setting, None, placebos=PLACEBOS)
    truth = study.truth()
    run = study.run(TrainingRun)
    with run.attached():
        while run.done < len(run.plan):
            run.step()
        queries = estimates.at_the_end(study, run).queries
    vectors = run.shadows.vectors()
    blocks = _blocks(queries, vectors, sizes(run.adapter.parameters))
    lengths = vectors.double().norm(dim=1).numpy()
    people = truth.rises.shape[1]
    jackknife = candidates(blocks, lengths, people)["jackknife"]
    told = doubt.rows(setting.name, blocks.sum(0)[:, :people], jackknife, truth.rises)
    return [*rows(setting.name, blocks, lengths, truth.rises), *told]


def _blocks(queries: Tensor, vectors: Tensor, widths: Sequence[int]) -> Floats:
    """Each tensor's part of every score: [T, Q, C + K]."""
    pairs = zip(queries.double().split(list(widths), 1), vectors.double().split(list(widths), 1), strict=True)
    return -torch.stack([query @ vector.T for query, vector in pairs]).numpy()


def rows(name: str, blocks: Floats, lengths: Floats, truth: Floats) -> list[dict[str, Any]]:
    """One a candidate. blocks: [T, Q, C + K]; lengths: [C + K]; truth: [Q, C]."""
    people = truth.shape[1]
    scores = blocks.sum(0)
    found, placebos = scores[:, :people], scores[:, people:]
    wrong = found - truth
    result = []
    for error, each in candidates(blocks, lengths, people).items():
        z = wrong / each
        result.append(
            {
                "setting": name,
                "error": error,
                "rms": round(float(np.sqrt((z**2).mean())), 3),
                "within_2": round(float((np.abs(z) <= 2).mean()), 3),
                "order": round(float(stats.spearmanr(np.abs(wrong).ravel(), each.ravel()).statistic), 3),
                "order_in_answer": round(_within(np.abs(wrong), each), 3),
            }
        )
    result[0] |= {
        "wrong": round(_rms(wrong) / _rms(truth), 4),
        "rms_effect": _rms(truth),
        "rms_wrong": _rms(wrong),
        "rms_placebo": _rms(placebos),
        "mean_wrong": float(wrong.mean()),
        "mean_placebo": float(placebos.mean()),
        "bias_order": round(float(stats.spearmanr(wrong.mean(1), placebos.mean(1)).statistic), 3),
        "length_of_people": _rms(lengths[:people]),
        "length_of_placebos": _rms(lengths[people:]),
    }
    return result


def candidates(blocks: Floats, lengths: Floats, people: int) -> Mapping[str, Floats]:
    """Standard errors [Q, C] by name."""
    scores, tensors = blocks.sum(0), len(blocks)
    shape = scores[:, :people].shape

    def of_placebos(count: int) -> Floats:
        squares: Floats = scores[:, people : people + count] ** 2
        return np.asarray(np.sqrt(squares.mean(1, keepdims=True)))

    def relative(count: int) -> Floats:
        return np.asarray(lengths[:people] / _rms(lengths[people : people + count]))

    most = len(lengths) - people
    spread = blocks[:, :, :people] - blocks[:, :, :people].mean(0)
    return {
        "placebo": np.broadcast_to(of_placebos(most), shape),
        "length": of_placebos(most) * relative(most),
        "length_of_few": of_placebos(min(FEW, most)) * relative(min(FEW, most)),
        "jackknife": np.sqrt(tensors / (tensors - 1) * (spread**2).sum(0)),
    }


def _within(wrong: Floats, error: Floats) -> float:
    """Mean rank correlation over contributors, answer by answer; 0 where all errors are one."""
    orders = [stats.spearmanr(a, b).statistic if np.ptp(b) else 0.0 for a, b in zip(wrong, error, strict=True)]
    return float(np.mean(orders))


def _rms(values: Floats) -> float:
    return float(np.sqrt((values**2).mean()))
