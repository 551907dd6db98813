"""What displacements do to the field that DoRA's training follows, against finite differences of it, on one map."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from openledger.influence.coupling_dora import DoraCoupling
from openledger.influence.dora import Decomposed
from openledger.influence.parameters import layout

RANK, IN, OUT, BATCH, TOKENS, ROWS, SCALING = 2, 5, 4, 5, 6, 4, 1.5
SIZES = (RANK * IN, OUT * RANK, OUT)
PARAMETERS = layout({"m.lora_A.weight": (RANK, IN), "m.lora_B.weight": (OUT, RANK), "m.lora_magnitude_vector": (OUT,)})
generator = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(OUT, IN, generator=generator)
THETA = torch.cat([torch.randn(size, generator=generator) for size in SIZES])
X = torch.randn(BATCH, TOKENS, IN, generator=generator)
DELTA = torch.randn(BATCH, TOKENS, OUT, generator=generator)
DISPLACEMENTS = torch.randn(ROWS, sum(SIZES), generator=generator)
EVERYTHING = list(range(BATCH))


def tensors(theta: Tensor) -> Decomposed:
    a, b, m = torch.split(theta, SIZES)
    return Decomposed(WEIGHT.to(theta), a.view(RANK, IN), b.view(OUT, RANK), m, SCALING)


def output(theta: Tensor, x: Tensor, norm: Tensor | None = None) -> Tensor:
    """The map as it is written in the paper, row lengths moving unless they are given: [..., out]."""
    of = tensors(theta)
    v = of.weight + SCALING * of.b @ of.a
    return (x @ v.T) * of.magnitude / (v.norm(dim=1) if norm is None else norm)


def field(theta: Tensor, records: list[int]) -> Tensor:
    """Of sum <delta, y> by autograd, the row lengths detached as in PEFT: [P] in float64."""
    theta = theta.double().requires_grad_()
    norm = tensors(theta.detach()).norm()
    total = (DELTA[records].double() * output(theta, X[records].double(), norm)).sum()
    (result,) = torch.autograd.grad(total, theta)
    return result


def change(records: list[int], displacement: Tensor) -> Tensor:
    """Of the field, per unit of displacement, delta and x held fixed."""
    step = 1e-5 * displacement.double()
    return ((field(THETA.double() + step, records) - field(THETA.double() - step, records)) / 2e-5).float()


def coupling(owners: Sequence[Sequence[int]], parts: list[list[int]]) -> DoraCoupling:
    map_ = tensors(THETA)
    result = DoraCoupling(PARAMETERS, [map_], [DISPLACEMENTS], owners)
    for part in parts:
        x, d = X[part], DELTA[part]
        normalised = x @ map_.direction().T / map_.norm()
        # What the taps of B have is not looked at.
        result.take(part, [x, x @ map_.a.T, normalised], [d @ map_.b, d, d])
    return result


def test_the_product_is_the_change_of_the_field() -> None:
    product = coupling([[]] * BATCH, [EVERYTHING]).product(0)
    for row in range(ROWS):
        expected = change(EVERYTHING, DISPLACEMENTS[row])
        assert float((product[row] - expected).norm() / expected.norm()) < 1e-4


def test_the_moving_lengths_are_a_real_part_of_it() -> None:
    """So that the test before this one can fail."""
    still = coupling([[]] * BATCH, [EVERYTHING])
    move = still._move(0)
    move.stretch.zero_()
    move.magnitude.copy_(DISPLACEMENTS[:, -OUT:])
    expected = change(EVERYTHING, DISPLACEMENTS[0])
    assert float((still.product(0)[0] - expected).norm() / expected.norm()) > 0.05


def test_a_shadow_sees_nothing_of_its_own_records_whatever_the_chunks() -> None:
    owners = [[0], [1], [0], [], [2, 3]]
    whole = coupling(owners, [EVERYTHING]).product(0)
    cut = coupling(owners, [[3, 0], [4], [2, 1]]).product(0)
    assert torch.allclose(whole, cut, atol=1e-5)
    for row in range(ROWS):
        left = [record for record in EVERYTHING if row not in owners[record]]
        expected = change(left, DISPLACEMENTS[row])
        assert float((whole[row] - expected).norm() / expected.norm()) < 1e-4


def test_asking_twice_changes_nothing() -> None:
    """As clipping does, which needs the norm of the whole before it takes the parts."""
    asked = coupling([[0], [1], [0], [], [2, 3]], [EVERYTHING])
    first = asked.product(0).clone()
    assert torch.equal(asked.product(0), first)


def test_what_is_seen_of_a_displacement_is_what_moves_the_output() -> None:
    seen = coupling([[]] * BATCH, [EVERYTHING]).seen(0)
    theta, x = THETA.double(), X.double()
    norm = tensors(theta).norm()
    for row in range(ROWS):
        step = 1e-5 * DISPLACEMENTS[row].double()
        true = (output(theta + step, x) - output(theta - step, x)) / 2e-5
        still = 1e-5 * seen[row].double()
        tapped = (output(theta + still, x, norm) - output(theta - still, x, norm)) / 2e-5
        assert float((tapped - true).norm() / true.norm()) < 1e-4


@pytest.mark.parametrize("row", range(ROWS))
def test_the_loss_gradient_is_the_field_on_what_is_seen(row: int) -> None:
    """The two maps are each other's transpose: <gradient, D> = <field, seen D>."""
    flat = field(THETA, EVERYTHING).float()
    a, b, m = torch.split(flat, SIZES)
    true = tensors(THETA).gradient(a.view(RANK, IN), b.view(OUT, RANK), m)
    product = torch.cat([part.flatten() for part in true]) @ DISPLACEMENTS[row]
    seen = coupling([[]] * BATCH, [EVERYTHING]).seen(0)[row]
    assert float(product) == pytest.approx(float(flat @ seen), rel=1e-4, abs=1e-3)
