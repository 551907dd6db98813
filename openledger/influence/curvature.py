"""The language model's head: losses, their gradients, and random factors of the Gauss-Newton matrix, in one pass.

For logits z = W h and cross-entropy against y, dl/dh = W^T softmax(z) - W[y]. The costly product W^T softmax(z) does
not depend on y, so the gradient for the true token and that for a token sampled from the model cost one matrix
product together. This module does not know where h comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 256
"""Rows of logits in memory at a time: 256 x 49,152 float32 are 50 MB."""


@dataclass(frozen=True, eq=False)
class HeadPass:
    """Per token n of N: its loss in nats, the loss' gradient with respect to h, and that of a sampled label's loss."""

    loss: Tensor
    """[N]"""
    correct: Tensor
    """bool [N]: whether the token is the likeliest one."""
    gradient: Tensor
    """[N, H]"""
    curvature: Tensor
    """[S, N, H]"""


def token_losses(hidden: Tensor, targets: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`loss` and `correct` of `head_pass` alone, bit for bit: the half that needs no second matrix product."""
    with torch.no_grad():
        loss, correct = torch.empty(len(hidden)), torch.empty(len(hidden), dtype=torch.bool)
        for start in range(0, len(hidden), ROWS):
            part = slice(start, start + ROWS)
            logp = torch.log_softmax(hidden[part] @ weight.T, dim=-1)
            true = logp.gather(1, targets[part, None])[:, 0]
            loss[part], correct[part] = -true, true == logp.amax(dim=-1)  # a fraction of what argmax takes
    return loss, correct


def head_pass(
    hidden: Tensor, targets: Tensor, weight: Tensor, generator: torch.Generator | None = None, samples: int = 0
) -> HeadPass:
    """Token losses and their gradients with respect to ``hidden``.

    hidden: [N, H], at the positions that predict ``targets``: int64 [N]; weight: [V, H], the head's matrix (no bias).
    samples: S, how often labels are sampled, with the generator.

    Each of the S layers of ``curvature`` is the gradient for labels drawn from the model's own distribution, times an
    independent random sign per token. With J the Jacobian of h with respect to the parameters and s[n] these rows,
    E[(sum_n J_n^T s[n]) (sum_n J_n^T s[n])^T] = sum_n J_n^T F_n J_n with F_n the Fisher matrix of token n: the
    Gauss-Newton matrix of the summed loss, without bias (sampled labels: Martens, arXiv:1412.1193, section 5; the
    signs remove the cross terms between tokens also where sampled gradients of one sequence would correlate).
    """
    with torch.no_grad():
        loss, correct = torch.empty(len(hidden)), torch.empty(len(hidden), dtype=torch.bool)
        gradient, curvature = torch.empty_like(hidden), hidden.new_empty(samples, *hidden.shape)
        for start in range(0, len(hidden), ROWS):
            part = slice(start, start + ROWS)
            h, y = hidden[part], targets[part]
            logp = torch.log_softmax(h @ weight.T, dim=-1)
            true = logp.gather(1, y[:, None])[:, 0]
            loss[part] = -true
            correct[part] = true == logp.amax(dim=-1)
            p = logp.exp_()
            mean = p @ weight
            gradient[part] = mean - weight[y]
            if samples:
                assert generator is not None, "sampling needs random numbers"
                cumulative = torch.cumsum(p, dim=1, out=p)
                for sample in range(samples):
                    sign = torch.randint(0, 2, (len(h), 1), generator=generator) * 2.0 - 1.0
                    curvature[sample, part] = sign * (mean - weight[_sample(cumulative, generator)])
    return HeadPass(loss, correct, gradient, curvature)


def _sample(cumulative: Tensor, generator: torch.Generator) -> Tensor:
    """One index per row of cumulated probabilities [N, V], by inversion: one random number a row."""
    u = torch.rand(len(cumulative), 1, generator=generator) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, u)[:, 0].clamp_(max=cumulative.shape[1] - 1)
