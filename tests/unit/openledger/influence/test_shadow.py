"""Shadow trajectories against brute force: torch's AdamW, a dense inverse, and optimising without a contributor."""

from __future__ import annotations

import math

import torch

from openledger.influence.shadow import ShadowTrajectories

P, C, STEPS = 12, 3, 6
NO_CURVATURE = torch.zeros(1, P)
generator = torch.Generator().manual_seed(0)
GRADIENTS = torch.randn(STEPS, C, P, generator=generator)
RATES = [0.03, 0.05, 0.04, 0.02, 0.02, 0.01]


def adamw(gradients: torch.Tensor) -> torch.Tensor:
    """Parameters after each step [STEPS, P] of torch's AdamW from zero, on given gradients [STEPS, P]."""
    theta = torch.nn.Parameter(torch.zeros(P))
    optimizer = torch.optim.AdamW([theta], lr=1.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    path = []
    for gradient, rate in zip(gradients, RATES, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        theta.grad = gradient.clone()
        optimizer.step()
        path.append(theta.detach().clone())
    return torch.stack(path)


def test_updates_are_adamw_and_displacements_the_difference_to_adamw_without_c() -> None:
    shadows = ShadowTrajectories(P, C)
    theta = torch.zeros(P)
    real = adamw(GRADIENTS.sum(1))
    without = [adamw(GRADIENTS.sum(1) - GRADIENTS[:, c]) for c in range(C)]
    for step in range(STEPS):
        theta += shadows.step(dict(enumerate(GRADIENTS[step])), {}, NO_CURVATURE, RATES[step])
        assert torch.allclose(theta, real[step], atol=1e-6)
        for c in range(C):
            assert torch.allclose(shadows.displacements[c], real[step] - without[c][step], atol=1e-5)


def test_absent_contributors_count_as_zero() -> None:
    sparse, dense = ShadowTrajectories(P, C), ShadowTrajectories(P, C)
    for step in range(STEPS):
        absent = step % C
        present = {c: GRADIENTS[step, c] for c in range(C) if c != absent}
        sparse.step(present, {}, NO_CURVATURE, RATES[step])
        dense.step(present | {absent: torch.zeros(P)}, {}, NO_CURVATURE, RATES[step])
    assert torch.allclose(sparse.displacements, dense.displacements, atol=1e-6)


def test_one_contributor_alone_made_the_whole_path() -> None:
    """Without it nothing moves: a rounding error left over in the gradient would move everything by a full step."""
    shadows = ShadowTrajectories(P, C)
    theta = torch.zeros(P)
    for step in range(STEPS):
        theta += shadows.step({1: GRADIENTS[step, 1] * 1e-3}, {}, NO_CURVATURE, RATES[step])
    assert torch.equal(shadows.displacements[1], theta)
    assert float(shadows.displacements[[0, 2]].abs().max()) == 0.0


def test_leave_one_out_sums_leave_no_rounding_error_behind() -> None:
    """To the shadow of contributor 0 only 1's tiny gradient is left, not the rounding error of subtracting 0's."""
    large, tiny = torch.full((P,), 1.0), torch.full((P,), 1e-9)
    shadows = ShadowTrajectories(P, C)
    update = shadows.step({0: large, 1: tiny}, {}, NO_CURVATURE, 0.1)
    expected_without = -0.1 * 1e-9 / (1e-9 + 1e-8)
    assert torch.allclose(shadows.displacements[0], update - expected_without, atol=1e-6)


def test_propagation_equals_the_dense_inverse() -> None:
    shadows = ShadowTrajectories(P, C)
    shadows.step(dict(enumerate(GRADIENTS[0])), {}, NO_CURVATURE, RATES[0])
    before = shadows.displacements.double()
    idle = ShadowTrajectories(P, C)
    idle.step(dict(enumerate(GRADIENTS[0])), {}, NO_CURVATURE, RATES[0])
    idle.step(dict(enumerate(GRADIENTS[1])), {}, NO_CURVATURE, RATES[1])
    differences = idle.displacements.double() - before

    curvature = torch.randn(4, P, generator=torch.Generator().manual_seed(1))
    shadows.step(dict(enumerate(GRADIENTS[1])), {}, curvature, RATES[1])
    total = GRADIENTS[:2].sum(1).double()
    v = 0.95 * 0.05 * total[0] ** 2 + 0.05 * total[1] ** 2
    metric = torch.diag(1 / ((v / (1 - 0.95**2)).sqrt() + 1e-8))
    dense = torch.linalg.inv(torch.eye(P) + RATES[1] * metric @ curvature.double().T @ curvature.double())
    expected = before @ dense.T + differences
    assert float((expected - before - differences).abs().max()) > 1e-3
    assert torch.allclose(shadows.displacements.double(), expected, atol=1e-5)


class Quadratics:
    """Twelve contributors; c's loss is |R_c (theta - t_c)|^2 / 2. Batches of four, so that the optimum stays noisy."""

    contributors, size, batch, steps = 12, 20, 4, 60

    def __init__(self) -> None:
        noise = torch.Generator().manual_seed(4)
        self.targets = torch.randn(self.contributors, self.size, generator=noise)
        self.roots = torch.randn(self.contributors, 4, self.size, generator=noise) / 2
        epochs = self.steps * self.batch // self.contributors
        self.order = torch.cat([torch.randperm(self.contributors, generator=noise) for _ in range(epochs)])

    def optimise(
        self, shadows: ShadowTrajectories, left_out: int | None = None, *, curved: bool = True
    ) -> torch.Tensor:
        theta = torch.zeros(self.size)
        for step, members in enumerate(self.order.split(self.batch)):
            parts = {
                c: self.roots[c].T @ (self.roots[c] @ (theta - self.targets[c])) / self.batch
                for c in members.tolist()
                if c != left_out
            }
            curvature = (
                self.roots[members].flatten(0, 1) / math.sqrt(self.batch) if curved else torch.zeros(1, self.size)
            )
            rate = 0.05 * 0.5 * (1 + math.cos(math.pi * step / self.steps))
            theta = theta + shadows.step(parts, {}, curvature, rate)
        return theta


def test_displacements_predict_really_optimising_without_a_contributor() -> None:
    """On quadratics, with their exact curvature; ignoring the curvature predicts clearly worse."""
    task = Quadratics()
    shadows, blind = (ShadowTrajectories(task.size, task.contributors) for _ in range(2))
    full = task.optimise(shadows)
    assert torch.equal(task.optimise(blind, curved=False), full)
    truth = torch.stack([full - task.optimise(ShadowTrajectories(task.size, 0), c) for c in range(task.contributors)])
    error, blind_error = (float((s.displacements - truth).norm() / truth.norm()) for s in (shadows, blind))
    assert error < 0.4
    assert error < 0.6 * blind_error


def test_placebos_do_not_touch_the_real_run() -> None:
    plain, observed = ShadowTrajectories(P, C), ShadowTrajectories(P, C, placebos=2)
    for step in range(STEPS):
        gradients, noise = dict(enumerate(GRADIENTS[step])), GRADIENTS[-1 - step, 0]
        placebos = {0: noise} if step % 2 else {}
        a = plain.step(gradients, {}, GRADIENTS[0], RATES[step])
        b = observed.step(gradients, placebos, GRADIENTS[0], RATES[step])
        assert torch.equal(a, b)
    assert torch.allclose(observed.displacements[:C], plain.displacements, atol=1e-6)
    assert float(observed.displacements[C].norm()) > 0.0
    assert float(observed.displacements[C + 1].norm()) == 0.0
