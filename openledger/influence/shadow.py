"""Shadow trajectories: leave-one-contributor-out from one training run.

Let theta_t be the one real AdamW trajectory, g_c the part of the batch gradient G = sum_c g_c that comes from
contributor c's records, and m, v the optimizer's moments. For every contributor c this module carries

    m_-c, v_-c   the moments that AdamW would have had without c on this trajectory: EMAs of G - g_c and of (G - g_c)^2
    D_c          theta minus the parameters that a run without c would have reached, linearised

and each step does

    u     = -lr (m / b1) / (sqrt(v / b2) + eps)                            the real update (b1, b2: bias corrections)
    d_c   = u - [the same with m_-c, v_-c]                                 what c did to this update, exactly D_c  <-
    (I + lr P H)^-1 D_c + d_c,   P = 1 / (sqrt(v / b2) + eps)      earlier displacement, pulled back by curvature

Without c AdamW's denominator shrinks as well as its numerator; the difference of the two finite updates has both, where
c's naive share of the update, lr (m_c / b1) P, has only the latter. H = A^T A approximates the batch loss' Gauss-Newton
matrix by one random row a_i per record (see ``curvature``), so with S = I + lr A P A^T [B, B] the inverse is (Woodbury)

    (I + lr P A^T A)^-1 D = D - lr P A^T S^-1 A D.

The step is implicit, hence stable for any lr. Unlike a dense inverse this costs 2 R B P + B^2 P multiplications a
step for R shadows; memory is 3 R P floats. An answer q then scores s_c(q) = -grad l_q(theta_T) . D_c: the estimated
rise of its loss had c's records carried weight 0 (same initialisation and batch order).

Prior work: SGD-influence (Hara et al. 2019) and ACC-SGD-IE (arXiv:2510.26185) propagate a leave-one-out perturbation
through SGD by Hessian-vector products; data value embedding (arXiv:2412.09538) does so by a dot product;
AdamW-influence (arXiv:2605.18814) differentiates through AdamW's moments to first order; SOURCE (arXiv:2405.12186)
averages the trajectory into segments; MAGIC (arXiv:2504.16430) is exact at 2-3 trainings per query. Here: finite
removal from the moments, an implicit rank-B step, and contributors as the unit.

*Placebos* are contributors that do not exist: their "gradient" is zero-mean noise of a real contributor's size and is
not part of G. What they score is what the method pays for nothing.

This module knows no model, data, loss or schedule. AdamW here has no weight decay and no gradient clipping.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Betas:
    """AdamW's averaging constants and the epsilon outside the square root."""

    first: float = 0.9
    second: float = 0.95
    epsilon: float = 1e-8


class ShadowTrajectories:
    """The optimizer of one run over P parameters, with a shadow for each of C contributors and K placebos."""

    def __init__(self, parameters: int, contributors: int, placebos: int = 0, betas: Betas = Betas()) -> None:
        self.contributors = contributors
        self.betas = betas
        self.steps = 0
        shadows = contributors + placebos
        self._m, self._v = torch.zeros(parameters), torch.zeros(parameters)
        self._m_without, self._v_without = torch.zeros(shadows, parameters), torch.zeros(shadows, parameters)
        self.displacements = torch.zeros(shadows, parameters)
        """D: float32 [C + K, P], contributors first."""

    def step(self, gradients: dict[int, Tensor], placebos: dict[int, Tensor], curvature: Tensor, lr: float) -> Tensor:
        """Take one AdamW step; returns the update [P] to add to the parameters.

        gradients: contributor index -> its part of the batch gradient [P]; who is absent had no record in the batch.
        placebos: placebo index -> its noise gradient [P]. curvature: A [B, P], rows a_i. lr: this step's learning rate.
        """
        self.steps += 1
        present = sorted(gradients)
        rows = [gradients[c] for c in present]
        total, without = _leave_one_out(rows, self._m)
        held_back = dict(zip(present, without, strict=True))
        held_back |= {self.contributors + k: total - noise for k, noise in placebos.items()}
        update, metric = self._advance(self._m, self._v, total, lr)
        self._propagate(curvature, metric, lr)
        for r in range(len(self.displacements)):
            shadow, _ = self._advance(self._m_without[r], self._v_without[r], held_back.get(r, total), lr)
            self.displacements[r] += update - shadow
        return update

    def _advance(self, m: Tensor, v: Tensor, gradient: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """AdamW on moments m, v [P], in place: the update and the metric P, both [P]."""
        first, second = self.betas.first, self.betas.second
        m.lerp_(gradient, 1 - first)
        v.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        metric = (v / (1 - second**self.steps)).sqrt_().add_(self.betas.epsilon).reciprocal_()
        return (m * metric).mul_(-lr / (1 - first**self.steps)), metric

    def _propagate(self, curvature: Tensor, metric: Tensor, lr: float) -> None:
        """D <- (I + lr P A^T A)^-1 D by a B x B solve."""
        scaled = curvature * metric  # A P: [B, P]
        system = torch.eye(len(curvature)) + lr * (curvature @ scaled.T)
        coefficients = torch.linalg.solve(system, curvature @ self.displacements.T)  # S^-1 A D^T: [B, R]
        self.displacements.addmm_(coefficients.T, scaled, alpha=-lr)


def _leave_one_out(rows: list[Tensor], like: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The sum of the rows, and for each row the sum of the others.

    By partial sums from both ends, not by subtraction: where one contributor is the whole batch the rest must be
    exactly zero, since AdamW turns even a rounding error of 1e-9 into a step of full length.
    """
    before = [torch.zeros_like(like)]
    for row in rows:
        before.append(before[-1] + row)
    after = torch.zeros_like(like)
    others = []
    for row, prefix in zip(reversed(rows), reversed(before[:-1]), strict=True):
        others.append(prefix + after)
        after = after + row
    return before[-1], others[::-1]
