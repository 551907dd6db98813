"""Shadow trajectories: leave-one-contributor-out from one training run.

Let theta_t be the one real AdamW trajectory and G = sum_b g_b its batch gradient, by records. For every contributor c
this module carries an optimizer of its own, with its moments m_c and v_c, and the displacement

    D_c = theta - (the parameters that a run without c would have reached).

Such a run would see, at theta - D_c and without c's records, the gradient

    G_c = sum_{b not of c} g_b  -  (H_c + K_c) D_c                                          to first order in D_c,

and so each step feeds this prediction to c's optimizer, whose moments, clipping and weight decay are then what they
are: nothing in AdamW is linearised. Both parts of the Hessian leave out c's own records, as the real run would.
K is the coupling of the LoRA factors, exact (see ``coupling``). H is the Gauss-Newton matrix, approximated as A^T A by
random rows (see ``curvature``), at least one for each of the batch's records. With DoRA, which follows a field and no
gradient, A^T A E: E makes of D what the outputs see of it (``Coupling.seen``). A few rows overstate the largest
eigenvalues, so their product is taken implicitly, where this step will have led: with P = 1 / (sqrt(v / b2) + eps) and
k = lr (1 - beta_1) / b1, the weight that this step's gradient has in the update (b1, b2: bias corrections),

    H (I + k P H)^-1 D  =  A^T (I + k A P A^T)^-1 A D,    a system as small as A has rows.

An answer q then scores s_c(q) = -grad l_q(theta_T) . D_c: the estimated rise of its loss had c's records carried
weight 0 (same initialisation and batch order). How well this agrees with really training again is measured by
``bench/lds``.

A step costs one product with A and one with A^T for each of R shadows, [R, P] by [P, rows], and memory is 3 R P floats.
Contributors do not interact, so runs that track different contributors give the same rows as one that tracks all, up to
the rounding of matrix products.

Prior work: SGD-influence (Hara et al. 2019) and ACC-SGD-IE (arXiv:2510.26185) propagate a leave-one-out perturbation
through SGD by Hessian-vector products; data value embedding (arXiv:2412.09538) does so by a dot product;
AdamW-influence (arXiv:2605.18814) differentiates through AdamW's moments to first order; SOURCE (arXiv:2405.12186)
averages the trajectory into segments; MAGIC (arXiv:2504.16430) is exact at 2-3 trainings per query. Here: the finite
removal from AdamW itself, sampled curvature without a contributor's own records, LoRA's coupling exactly, and
contributors as the unit.

*Placebos* are contributors that do not exist: their "gradient" is zero-mean noise of a real contributor's size and is
not part of G. What they score is what the method pays for nothing.

This module knows no model, data, loss or schedule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from openledger.influence.coupling import Coupling


@dataclass(frozen=True)
class AdamW:
    """AdamW's constants (Loshchilov and Hutter, arXiv:1711.05101), and the clipping in front of it."""

    first: float = 0.9
    second: float = 0.95
    epsilon: float = 1e-8
    """Outside the square root."""
    weight_decay: float = 0.0
    """Decoupled: a step shrinks the parameters by learning rate times this."""
    clip_norm: float = 0.0
    """Longest gradient, as in ``torch.nn.utils.clip_grad_norm_``; 0: no limit."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What a batch of B records says about the parameters."""

    gradient: Tensor
    """[B, P]: each record's part of the batch gradient; the rows sum to it."""
    owners: Sequence[Sequence[int]]
    """For each record the shadows that run without it: its contributor's, or none."""
    curvature: Tensor
    """A [n, P], n at least 1: A^T A estimates the batch loss' Gauss-Newton matrix without bias."""
    curved: Sequence[Sequence[int]]
    """For each row of A the shadows that run without the record that it is of, which need be none of this batch."""
    coupling: Coupling | None = None
    noise: Mapping[int, Tensor] = field(default_factory=dict)
    """Placebo's shadow -> its gradient [P]."""


class ShadowTrajectories:
    """The optimizer of one run, with a shadow for each of C contributors (rows 0..C-1) and K placebos after them."""

    def __init__(self, blocks: Sequence[int], shadows: int, optimizer: AdamW = AdamW()) -> None:
        """blocks: how the P parameters are cut; work is done a block at a time. shadows: C + K."""
        self.optimizer = optimizer
        self.shadows = shadows
        self.steps = 0
        ends = torch.tensor(blocks).cumsum(0).tolist()
        self._parts = [slice(end - size, end) for end, size in zip(ends, blocks, strict=True)]
        self._m, self._v = torch.zeros(2, sum(blocks))
        self._m_without, self._v_without, self.displacements = (
            [torch.zeros(shadows, size) for size in blocks] for _ in range(3)
        )
        """Per block [C + K, size]; ``displacements`` are D."""

    def vectors(self) -> Tensor:
        """D as one matrix: float32 [C + K, P]."""
        return torch.cat(self.displacements, dim=1)

    def vector(self, shadow: int) -> Tensor:
        """One row of it [P]."""
        return torch.cat([block[shadow] for block in self.displacements])

    def second_moment(self) -> Tensor:
        """Of the run's own optimizer, over its bias correction [P]."""
        corrected: Tensor = self._v / self._bias(self.optimizer.second)
        return corrected

    def step(self, theta: Tensor, batch: Batch, lr: float) -> None:
        """Take one AdamW step on the parameters [P], in place, and one in every shadow."""
        self.steps += 1
        total = batch.gradient.sum(0)
        update = self._advance(self._m, self._v, total * self._clip(total.norm()), lr)
        forecast = _Forecast(batch, total, self.shadows, self._implicit(batch, lr))
        clip = self._clip(self._norms(forecast))
        shrink = 1 - lr * self.optimizer.weight_decay
        for k, part in enumerate(self._parts):
            predicted = forecast.block(k, part).mul_(clip[:, None])
            shadow = self._advance(self._m_without[k], self._v_without[k], predicted, lr)
            self.displacements[k].mul_(shrink).add_(update[part] - shadow)
        theta.mul_(shrink).add_(update)

    def state(self) -> dict[str, Tensor]:
        """All but the number of steps, by name; copies nothing."""
        rows = {"m_without": self._m_without, "v_without": self._v_without, "displacements": self.displacements}
        blocks = {f"{name}.{k}": block for name, parts in rows.items() for k, block in enumerate(parts)}
        return {"m": self._m, "v": self._v} | blocks

    def restore(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Take up the ``state`` of another with the same shape, after so many steps."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
        self.steps = steps

    def _advance(self, m: Tensor, v: Tensor, gradient: Tensor, lr: float) -> Tensor:
        """AdamW on moments of any shape, in place; returns the update without weight decay."""
        first, second = self.optimizer.first, self.optimizer.second
        m.lerp_(gradient, 1 - first)
        v.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = (v / self._bias(second)).sqrt_().add_(self.optimizer.epsilon)
        return (m / scale).mul_(-lr / self._bias(first))

    def _bias(self, beta: float) -> float:
        """What an average that began at zero is short of by now."""
        return float(1 - beta**self.steps)

    def _implicit(self, batch: Batch, lr: float) -> Tensor:
        """Coefficients [C + K, n] whose product with A is H (I + k P H)^-1 D, each without the shadow's own records."""
        a, optimizer = batch.curvature, self.optimizer
        metric = 1 / ((self._v / self._bias(optimizer.second)).sqrt() + optimizer.epsilon)
        k = lr * (1 - optimizer.first) / self._bias(optimizer.first)
        system = torch.eye(len(a)) + k * ((a * metric) @ a.T)
        product = torch.zeros(self.shadows, len(a))
        for block, part in enumerate(self._parts):
            seen = self.displacements[block] if batch.coupling is None else batch.coupling.seen(block)
            product += seen @ a[:, part].T
        coefficients: Tensor = torch.linalg.solve(system, product.T).T.contiguous()
        for shadow in sorted({owner for owners in batch.curved for owner in owners}):
            left = [row for row, owners in enumerate(batch.curved) if shadow not in owners]
            coefficients[shadow] = 0.0
            coefficients[shadow, left] = torch.linalg.solve(system[left][:, left], product[shadow, left])
        return coefficients

    def _norms(self, forecast: _Forecast) -> Tensor:
        """Of the shadows' gradients [C + K]; zeros where nothing is clipped, and they need not be known."""
        squares = torch.zeros(self.shadows)
        for k, part in enumerate(self._parts if self.optimizer.clip_norm else []):
            squares += forecast.block(k, part).square_().sum(1)
        return squares.sqrt_()

    def _clip(self, norm: Tensor) -> Tensor:
        """What a gradient is multiplied by."""
        limit = self.optimizer.clip_norm
        return torch.clamp(limit / (norm + 1e-6), max=1.0) if limit else torch.ones_like(norm)


class _Forecast:
    """The gradients that runs without each shadow's records would have seen in this step."""

    def __init__(self, batch: Batch, total: Tensor, shadows: int, implicit: Tensor) -> None:
        self._batch, self._total, self._shadows, self._implicit = batch, total, shadows, implicit
        self._kept = _kept(batch) | {shadow: total - noise for shadow, noise in batch.noise.items()}

    def block(self, k: int, part: slice) -> Tensor:
        """Of block k, which is that part of the parameters: [C + K, size]."""
        predicted = self._total[part].repeat(self._shadows, 1)
        for shadow, gradient in self._kept.items():
            predicted[shadow] = gradient[part]
        predicted.addmm_(self._implicit, self._batch.curvature[:, part], alpha=-1)
        if self._batch.coupling is not None:
            predicted -= self._batch.coupling.product(k)
        return predicted


def _kept(batch: Batch) -> dict[int, Tensor]:
    """The gradients [P] of the shadows whose records the batch has: by summing what is left, never by subtraction.

    Where one contributor is the whole batch nothing may be left, not even a rounding error: AdamW would turn 1e-9 into
    a step of full length.
    """
    without: dict[int, list[int]] = {}
    for record, owners in enumerate(batch.owners):
        for shadow in owners:
            without.setdefault(shadow, []).append(record)
    left = torch.ones(len(without), len(batch.gradient))
    for row, records in enumerate(without.values()):
        left[row, records] = 0.0
    return dict(zip(without, left @ batch.gradient, strict=True))
