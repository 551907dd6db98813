"""One machine's trainings, in a process of its own, since libraries read what they may use of it when they start.

python -m bench.retraining.worker ORDER          a JSON object, see `Order`
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.lds.study import Setting, Study
from services.factory import trunk_task
from services.factory.counterfactual import Retraining
from services.factory.passes import gradients
from services.factory.training_run import TrainingRun


@dataclass(frozen=True)
class Order:
    """What is trained: everybody with whom it follows, and without each of the first so many; and where it is put."""

    setting: dict[str, Any]
    changes: dict[str, Any]
    """Of the specification."""
    left_out: int
    threads: int
    onednn: bool
    deterministic: bool
    file: str


def main() -> None:
    """Command line."""
    order = Order(**json.loads(sys.argv[1]))
    torch.set_num_threads(order.threads)
    torch.backends.mkldnn.enabled = order.onednn  # type: ignore[assignment]  # it is a property
    torch.use_deterministic_algorithms(order.deterministic)
    study = Study(Setting(**order.setting), **order.changes)
    trunk = trunk_task.prepared(study.spec, study.decoder, study.training, study.queries)
    run = TrainingRun(study.spec, study.decoder, study.training, trunk=trunk)
    start = run.theta.clone()
    with run.attached():
        while run.done < len(run.plan):
            run.step()
        losses = [run.evaluate(study.queries)[0]]
        assert run._taps is not None
        pull = gradients(trunk, run._taps, study.queries).mean(0)
    models, again = [], Retraining(study.spec, trunk, study.training)
    for who in list(run.row)[: order.left_out]:
        theta, its = again.run({who}, study.queries)
        models.append(theta.clone())
        losses.append(its)
    part = Path(order.file).with_suffix(".part.npz")
    np.savez(
        part,
        start=start.numpy(),
        pull=pull.numpy(),
        theta=run.theta.numpy(),
        vectors=run.shadows.vectors()[: len(run.row)].numpy(),
        without=torch.stack(models).numpy(),
        losses=torch.stack(losses).double().mean(1).numpy(),
        sizes=np.array([parameter.size for parameter in run.adapter.parameters]),
    )
    part.replace(order.file)


if __name__ == "__main__":
    main()
