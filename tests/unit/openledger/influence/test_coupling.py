"""The coupling of LoRA's factors against autograd's second derivatives."""

from __future__ import annotations

import pytest
import torch

from openledger.influence.coupling import Coupling, blocks
from openledger.influence.parameters import Parameter, layout

RANK, IN, OUT, BATCH, TOKENS, ROWS = 2, 4, 3, 5, 6, 4
PARAMETERS = layout({"m.lora_A.weight": (RANK, IN), "m.lora_B.weight": (OUT, RANK)})
generator = torch.Generator().manual_seed(0)
A, B = torch.randn(RANK, IN, generator=generator), torch.randn(OUT, RANK, generator=generator)
X = torch.randn(BATCH, TOKENS, IN, generator=generator)
DELTA = torch.randn(BATCH, TOKENS, OUT, generator=generator)
DISPLACEMENTS = torch.randn(ROWS, RANK * IN + OUT * RANK, generator=generator)


def change(records: list[int], displacement: torch.Tensor) -> torch.Tensor:
    """Of the gradient of sum <delta, B A x> with delta and x held fixed, by autograd twice: [P]."""
    point = torch.cat([A.flatten(), B.flatten()])

    def loss(theta: torch.Tensor) -> torch.Tensor:
        a, b = theta[: A.numel()].view_as(A), theta[A.numel() :].view_as(B)
        return (DELTA[records] * (X[records] @ a.T @ b.T)).sum()

    hessian = torch.autograd.functional.hessian(loss, point)
    assert isinstance(hessian, torch.Tensor)
    return hessian @ displacement


def coupling(owners: list[list[int]], parts: list[list[int]]) -> Coupling:
    result = Coupling(PARAMETERS, [DISPLACEMENTS], owners)
    for part in parts:
        result.add(part, [X[part]], [DELTA[part]])
    return result


def test_the_product_is_the_second_derivative_in_the_two_factors() -> None:
    product = coupling([[]] * BATCH, [list(range(BATCH))]).product(0)
    for row in range(ROWS):
        assert torch.allclose(product[row], change(list(range(BATCH)), DISPLACEMENTS[row]), atol=1e-4)


def test_a_shadow_sees_nothing_of_its_own_records_whatever_the_chunks() -> None:
    owners = [[0], [1], [0], [], [2, 3]]
    whole = coupling(owners, [[0, 1, 2, 3, 4]]).product(0)
    cut = coupling(owners, [[3, 0], [4], [2, 1]]).product(0)
    assert torch.allclose(whole, cut, atol=1e-5)
    for row in range(ROWS):
        left = [record for record in range(BATCH) if row not in owners[record]]
        assert torch.allclose(whole[row], change(left, DISPLACEMENTS[row]), atol=1e-4)


def test_blocks_are_pairs_of_factors() -> None:
    assert blocks(PARAMETERS) == [RANK * IN + OUT * RANK]
    for names in (["m.lora_A.weight"], ["m.lora_A.weight", "n.lora_B.weight"], ["a", "b"]):
        with pytest.raises(ValueError, match="factor"):
            blocks([Parameter(name, (2, 2)) for name in names])
