from __future__ import annotations

import torch
from torch.nn import functional

from openledger.influence.curvature import ROWS, head_pass, token_losses


def setting(tokens: int, vocabulary: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(tokens, width, generator=generator)
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator)
    return hidden, targets, torch.randn(vocabulary, width, generator=generator)


def test_loss_and_gradient_equal_autograd_also_across_row_blocks() -> None:
    hidden, targets, weight = setting(ROWS + 7, 50, 8)
    result = head_pass(hidden, targets, weight)
    hidden.requires_grad_()
    loss = functional.cross_entropy(hidden @ weight.T, targets, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), hidden)
    assert torch.allclose(result.loss, loss, atol=1e-5)
    assert torch.allclose(result.gradient, gradient, atol=1e-5)
    assert result.curvature.shape == (0, ROWS + 7, 8)


def test_losses_alone_are_those_of_the_whole_pass_bit_for_bit() -> None:
    setting_of = setting(ROWS + 7, 50, 8)
    loss, correct = token_losses(*setting_of)
    whole = head_pass(*setting_of)
    assert torch.equal(loss, whole.loss)
    assert torch.equal(correct, whole.correct)


def test_curvature_rows_estimate_the_gauss_newton_matrix_without_bias() -> None:
    hidden, targets, weight = setting(3, 5, 4)
    p = torch.softmax(hidden @ weight.T, dim=1)
    fisher = [weight.T @ (torch.diag(row) - torch.outer(row, row)) @ weight for row in p]
    exact = torch.block_diag(*fisher)
    generator = torch.Generator().manual_seed(3)
    draws = 10_000
    many = head_pass(hidden.repeat(draws, 1), targets.repeat(draws), weight, generator, samples=1).curvature
    rows = many.reshape(draws, 3 * 4)
    estimate = rows.T @ rows / draws
    assert float((estimate - exact).norm() / exact.norm()) < 0.08
    assert float(rows.mean(0).abs().max()) < 0.08


def test_several_samples_are_independent() -> None:
    hidden, targets, weight = setting(400, 5, 4)
    first, second = head_pass(hidden, targets, weight, torch.Generator().manual_seed(4), samples=2).curvature
    assert not torch.equal(first, second)
    assert abs(float((first * second).sum() / (first.norm() * second.norm()))) < 0.15
