"""DataInf and LDS against dattri (TRAIS-Lab, MIT), an implementation by others: equal to 1e-5 on a toy.

Where its conventions differ from ours, and what the tests convert:

* scores are [records, queries] there, [queries, records] here;
* sign and scale are the same: g_k . H^-1 g_q with both gradients of the loss, positive for a record that helped (the
  DataInf paper has the opposite sign), mean over records inside H, no further 1/N;
* dattri takes one damping lambda for all layers; the paper, and we, 0.1 of each tensor's mean squared gradient. Since
  the score is a sum over tensors, ours is asked tensor by tensor with the share that makes its lambda dattri's;
* dattri's layer is a module's weight and bias together; so is the "tensor" here;
* its LDS takes the members' indices where ours takes masks.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dattri.algorithm.influence_function import IFAttributorDataInf
from dattri.metric import lds as dattri_lds
from dattri.task import AttributionTask
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from openledger.influence import agreement
from openledger.influence.record_scores import DataInf, Gradients

RECORDS, QUERIES, LAMBDA = 20, 6, 0.02


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


@pytest.fixture(scope="module")
def data() -> tuple[TensorDataset, TensorDataset]:
    generator = torch.Generator().manual_seed(1)

    def some(count: int) -> TensorDataset:
        return TensorDataset(
            torch.randn(count, 5, generator=generator), torch.randint(3, (count,), generator=generator)
        )

    return some(RECORDS), some(QUERIES)


def gradients(model: nn.Sequential, data: TensorDataset) -> np.ndarray:
    """Of each example's loss, one example at a time: [n, P]."""
    rows = []
    for x, y in data:
        loss = nn.functional.cross_entropy(model(x[None]), y[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]).numpy())
    return np.array(rows)


def theirs(model: nn.Sequential, data: tuple[TensorDataset, TensorDataset]) -> np.ndarray:
    """DataInf scores by dattri, as [queries, records]."""

    def loss(parameters: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(torch.func.functional_call(model, parameters, (x,)), y)

    task = AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict())
    attributor = IFAttributorDataInf(task=task, regularization=LAMBDA)
    records, queries = (DataLoader(part, batch_size=len(part)) for part in data)
    attributor.cache(records)
    return attributor.attribute(records, queries).detach().numpy().T


def ours(model: nn.Sequential, data: tuple[TensorDataset, TensorDataset]) -> np.ndarray:
    records, queries = (gradients(model, part) for part in data)
    total, start = np.zeros((QUERIES, RECORDS)), 0
    for layer in (model[0], model[2]):
        size = sum(p.numel() for p in layer.parameters())
        tensor = slice(start, start + size)
        start += size
        mean_square = float((records[:, tensor].astype(float) ** 2).mean())
        total += DataInf(damping=LAMBDA / mean_square)(Gradients(queries[:, tensor], records[:, tensor], (size,)))
    return total


def test_datainf(model: nn.Sequential, data: tuple[TensorDataset, TensorDataset]) -> None:
    expected, found = theirs(model, data), ours(model, data)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    # Not for lack of a difference: a plain dot product of gradients over lambda is far from both.
    dots = gradients(model, data[1]) @ gradients(model, data[0]).T / LAMBDA
    assert np.abs(dots - expected).max() > 1e-2 * np.abs(expected).max()


def test_lds() -> None:
    draw = np.random.default_rng(0)
    scores, outcomes = draw.normal(size=(QUERIES, RECORDS)), draw.normal(size=(12, QUERIES))
    members = np.array([draw.permutation(RECORDS)[: RECORDS // 2] for _ in range(12)])
    masks = np.zeros((12, RECORDS), dtype=bool)
    np.put_along_axis(masks, members, True, axis=1)
    expected, _ = dattri_lds(torch.tensor(scores.T), (torch.tensor(outcomes), torch.tensor(members)))
    assert np.abs(agreement.lds(scores, masks, outcomes) - expected.numpy()).max() <= 1e-5
