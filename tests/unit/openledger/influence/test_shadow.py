"""Shadow trajectories against brute force: torch's AdamW, dense inverses, and optimising without a contributor."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from openledger.influence.coupling import Coupling, blocks
from openledger.influence.parameters import layout
from openledger.influence.shadow import AdamW, Batch, ShadowTrajectories

P, C, STEPS = 12, 3, 6
BLOCKS = [5, 4, 3]
generator = torch.Generator().manual_seed(0)
GRADIENTS = torch.randn(STEPS, C, P, generator=generator)
RATES = [0.03, 0.05, 0.04, 0.02, 0.02, 0.01]


def batch(rows: dict[int, Tensor], curvature: Tensor | None = None, noise: dict[int, Tensor] | None = None) -> Batch:
    """One record for each contributor named; without curvature unless given, which is then of nobody's records."""
    size = next(iter(rows.values())).numel()
    flat = torch.zeros(1, size) if curvature is None else curvature
    owners = [*([c] for c in rows), *([] for _ in flat)]
    gradient = torch.cat([torch.stack(list(rows.values())), torch.zeros(len(flat), size)])
    return Batch(gradient, owners, flat, owners[len(rows) :], None, noise or {})


def adamw(gradients: Tensor, settings: AdamW = AdamW()) -> Tensor:  # noqa: B008 - frozen
    """Parameters after each step [STEPS, P] of torch's AdamW from one, on given gradients [STEPS, P]."""
    theta = torch.nn.Parameter(torch.ones(P))
    betas = (settings.first, settings.second)
    optimizer = torch.optim.AdamW([theta], lr=1.0, betas=betas, eps=1e-8, weight_decay=settings.weight_decay)
    path = []
    for gradient, rate in zip(gradients, RATES, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        theta.grad = gradient.clone()
        if settings.clip_norm:
            torch.nn.utils.clip_grad_norm_([theta], settings.clip_norm)
        optimizer.step()
        path.append(theta.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize(
    "settings",
    (
        AdamW(),
        AdamW(weight_decay=0.3),
        AdamW(clip_norm=2.0),
        AdamW(first=0.8, second=0.99, weight_decay=0.1, clip_norm=4.0),
    ),
    ids=["plain", "decay", "clip", "all"],
)
def test_updates_are_adamw_and_displacements_the_difference_to_adamw_without_c(settings: AdamW) -> None:
    shadows = ShadowTrajectories(BLOCKS, C, settings)
    theta = torch.ones(P)
    real = adamw(GRADIENTS.sum(1), settings)
    without = [adamw(GRADIENTS.sum(1) - GRADIENTS[:, c], settings) for c in range(C)]
    for step in range(STEPS):
        shadows.step(theta, batch(dict(enumerate(GRADIENTS[step]))), RATES[step])
        assert torch.allclose(theta, real[step], atol=1e-6)
        for c in range(C):
            assert torch.allclose(shadows.vectors()[c], real[step] - without[c][step], atol=1e-5)


def test_absent_contributors_count_as_zero() -> None:
    sparse, dense = ShadowTrajectories(BLOCKS, C), ShadowTrajectories(BLOCKS, C)
    for step in range(STEPS):
        absent = step % C
        present = {c: GRADIENTS[step, c] for c in range(C) if c != absent}
        sparse.step(torch.zeros(P), batch(present), RATES[step])
        dense.step(torch.zeros(P), batch(present | {absent: torch.zeros(P)}), RATES[step])
    assert torch.allclose(sparse.vectors(), dense.vectors(), atol=1e-6)


def test_one_contributor_alone_made_the_whole_path() -> None:
    """Without it nothing moves: a rounding error left over in the gradient would move everything by a full step."""
    shadows = ShadowTrajectories(BLOCKS, C)
    theta = torch.zeros(P)
    for step in range(STEPS):
        shadows.step(theta, batch({1: GRADIENTS[step, 1] * 1e-3}), RATES[step])
    assert torch.equal(shadows.vectors()[1], theta)
    assert float(shadows.vectors()[[0, 2]].abs().max()) == 0.0


def test_what_is_left_of_a_batch_is_free_of_rounding_errors() -> None:
    """To the shadow of contributor 0 only 1's tiny gradient is left, not the rounding error of subtracting 0's."""
    large, tiny = torch.full((P,), 1.0), torch.full((P,), 1e-9)
    shadows, theta = ShadowTrajectories(BLOCKS, C), torch.zeros(P)
    shadows.step(theta, batch({0: large, 1: tiny}), 0.1)
    expected_without = -0.1 * 1e-9 / (1e-9 + 1e-8)
    assert torch.allclose(shadows.vectors()[0], theta - expected_without, atol=1e-6)


def test_several_records_of_one_contributor_are_left_out_together() -> None:
    one, two = ShadowTrajectories(BLOCKS, C), ShadowTrajectories(BLOCKS, C)
    for step in range(STEPS):
        halves = torch.cat([GRADIENTS[step], GRADIENTS[step]]) / 2
        nothing = torch.zeros(1, P)
        two.step(torch.zeros(P), Batch(halves, [[0], [1], [2], [0], [1], [2]], nothing, [[0]]), RATES[step])
        one.step(torch.zeros(P), Batch(GRADIENTS[step], [[0], [1], [2]], nothing, [[0]]), RATES[step])
    assert torch.allclose(one.vectors(), two.vectors(), atol=1e-6)


def test_the_blocks_make_no_difference() -> None:
    curvature = torch.randn(4, P, generator=torch.Generator().manual_seed(1))
    whole, cut = ShadowTrajectories([P], C, AdamW(clip_norm=1.0)), ShadowTrajectories(BLOCKS, C, AdamW(clip_norm=1.0))
    for step in range(STEPS):
        for shadows in (whole, cut):
            shadows.step(torch.zeros(P), batch(dict(enumerate(GRADIENTS[step])), curvature), RATES[step])
    assert torch.allclose(whole.vectors(), cut.vectors(), atol=1e-6)


def test_shadows_do_not_depend_on_who_else_is_tracked() -> None:
    everyone, one = ShadowTrajectories(BLOCKS, C), ShadowTrajectories(BLOCKS, 1)
    for step in range(STEPS):
        rows = GRADIENTS[step]
        everyone.step(torch.zeros(P), Batch(rows, [[0], [1], [2]], rows, [[0], [1], [2]]), RATES[step])
        one.step(torch.zeros(P), Batch(rows, [[], [0], []], rows, [[], [0], []]), RATES[step])
    assert torch.allclose(everyone.vectors()[1], one.vectors()[0], atol=1e-6)


def test_the_curvature_product_equals_the_dense_inverse_without_own_records() -> None:
    """One step from a known displacement: the gradient that the shadow's optimizer sees, by dense algebra."""
    a = torch.randn(4, P, generator=torch.Generator().manual_seed(1))
    rows = torch.cat([GRADIENTS[1], torch.zeros(1, P)])
    shadows, plain = ShadowTrajectories(BLOCKS, C), ShadowTrajectories(BLOCKS, C)
    for each in (shadows, plain):
        each.step(torch.zeros(P), batch(dict(enumerate(GRADIENTS[0]))), RATES[0])
    d = shadows.vectors().double()
    shadows.step(torch.zeros(P), Batch(rows, [[0], [1], [2], []], a, [[0], [1], [2], []]), RATES[1])

    total = GRADIENTS.sum(1).double()
    m, v = torch.zeros(2, P, dtype=torch.float64)
    for gradient in total[:2]:
        m, v = 0.9 * m + 0.1 * gradient, 0.95 * v + 0.05 * gradient**2
    metric = torch.diag(1 / ((v / (1 - 0.95**2)).sqrt() + 1e-8))
    k = RATES[1] * 0.1 / (1 - 0.9**2)
    for c in range(C):
        left = a.double()[[row for row in range(4) if row != c]]
        inverse = torch.linalg.inv(torch.eye(P) + k * metric @ left.T @ left)
        seen = total[1] - GRADIENTS[1, c] - left.T @ left @ inverse @ d[c]
        first = total[0] - GRADIENTS[0, c]
        m_c, v_c = 0.9 * 0.1 * first + 0.1 * seen, 0.95 * 0.05 * first**2 + 0.05 * seen**2
        update = -RATES[1] * (m / 0.19) / ((v / (1 - 0.95**2)).sqrt() + 1e-8)
        update_c = -RATES[1] * (m_c / 0.19) / ((v_c / (1 - 0.95**2)).sqrt() + 1e-8)
        assert torch.allclose(shadows.vectors()[c].double(), d[c] + update - update_c, atol=1e-5)


def test_a_run_that_is_taken_up_again_goes_on_bit_by_bit() -> None:
    whole, first, second = (ShadowTrajectories(BLOCKS, C + 1) for _ in range(3))
    theta, halfway = torch.zeros(P), torch.zeros(P)
    for step in range(STEPS):
        this = batch(dict(enumerate(GRADIENTS[step])), GRADIENTS[0], {C: GRADIENTS[-1 - step, 0]})
        whole.step(theta, this, RATES[step])
        (first if step < 3 else second).step(halfway, this, RATES[step])
        if step == 2:
            second.restore({name: tensor.clone() for name, tensor in first.state().items()}, first.steps)
    assert torch.equal(theta, halfway)
    assert torch.equal(whole.vectors(), second.vectors())


class Quadratics:
    """Twelve contributors; c's loss is |R_c (theta - t_c)|^2 / 2. Batches of four, so that the optimum stays noisy."""

    contributors, size, batch, steps = 12, 20, 4, 60

    def __init__(self) -> None:
        noise = torch.Generator().manual_seed(4)
        self.targets = torch.randn(self.contributors, self.size, generator=noise)
        self.roots = torch.randn(self.contributors, 4, self.size, generator=noise) / 2
        epochs = self.steps * self.batch // self.contributors
        self.order = torch.cat([torch.randperm(self.contributors, generator=noise) for _ in range(epochs)])

    def optimise(self, shadows: ShadowTrajectories, left_out: int | None = None, *, curved: bool = True) -> Tensor:
        theta = torch.zeros(self.size)
        for step, members in enumerate(self.order.split(self.batch)):
            rows = torch.stack([self.gradient(c, theta) * (c != left_out) for c in members.tolist()])
            a = self.roots[members].flatten(0, 1) / math.sqrt(self.batch) * curved
            owners = [[c] for c in members.tolist()] if shadows.shadows else [[]] * self.batch
            rate = 0.05 * 0.5 * (1 + math.cos(math.pi * step / self.steps))
            shadows.step(theta, Batch(rows, owners, a, [owners[i // 4] for i in range(4 * self.batch)]), rate)
        return theta

    def gradient(self, c: int, theta: Tensor) -> Tensor:
        return self.roots[c].T @ (self.roots[c] @ (theta - self.targets[c])) / self.batch


def test_displacements_predict_really_optimising_without_a_contributor() -> None:
    """On quadratics, with their exact curvature; ignoring the curvature predicts clearly worse."""
    task = Quadratics()
    shadows, blind = (ShadowTrajectories([8, 12], task.contributors) for _ in range(2))
    full = task.optimise(shadows)
    assert torch.equal(task.optimise(blind, curved=False), full)
    truth = torch.stack([full - task.optimise(ShadowTrajectories([20], 0), c) for c in range(task.contributors)])
    error, blind_error = (float((s.vectors() - truth).norm() / truth.norm()) for s in (shadows, blind))
    assert error < 0.1
    assert error < 0.3 * blind_error


class Factored:
    """Linear regression through a LoRA map, y = B A x: twenty contributors with two records each, B from zero."""

    contributors, rank, inputs, outputs = 20, 2, 5, 4

    def __init__(self) -> None:
        noise = torch.Generator().manual_seed(5)
        self.a = torch.randn(self.rank, self.inputs, generator=noise)
        self.x = torch.randn(2 * self.contributors, self.inputs, generator=noise)
        self.y = torch.randn(2 * self.contributors, self.outputs, generator=noise)
        self.order = torch.cat([torch.randperm(len(self.x), generator=noise) for _ in range(5)]).split(8)
        self.parameters = layout({"m.lora_A.weight": self.a.shape, "m.lora_B.weight": (self.outputs, self.rank)})

    def train(
        self, shadows: ShadowTrajectories, left_out: int | None = None, coupled: Callable[[], bool] = lambda: True
    ) -> Tensor:
        theta = torch.cat([self.a.flatten(), torch.zeros(self.outputs * self.rank)])
        for members in self.order:
            a = theta[: self.a.numel()].view_as(self.a)
            b = theta[self.a.numel() :].view(self.outputs, self.rank)
            records = members.tolist()
            owners = [[i // 2] for i in records] if shadows.shadows else [[]] * len(records)
            coupling = Coupling(self.parameters, shadows.displacements, owners)
            kept = torch.tensor([[float(i // 2 != left_out)] for i in records]) / len(records)
            x, delta = self.x[members], (self.x[members] @ a.T @ b.T - self.y[members]) * kept
            coupling.add(range(len(records)), [x[:, None]], [delta[:, None]])
            rows = [
                torch.cat([torch.outer(b.T @ d, v).flatten(), torch.outer(d, a @ v).flatten()])
                for d, v in zip(delta, x, strict=True)
            ]
            jacobians = [self.jacobian(a, b, v) * math.sqrt(1 / len(records)) for v in x]
            curved = [some for some in owners for _ in range(self.outputs)]
            state = Batch(torch.stack(rows), owners, torch.cat(jacobians), curved, coupling if coupled() else None)
            shadows.step(theta, state, 0.02)
        return theta

    def jacobian(self, a: Tensor, b: Tensor, x: Tensor) -> Tensor:
        """Of y in theta: [outputs, P]."""
        of_a = torch.einsum("or,i->ori", b, x).flatten(1)
        of_b = torch.einsum("op,r->opr", torch.eye(self.outputs), a @ x).flatten(1)
        return torch.cat([of_a, of_b], dim=1)


def test_the_coupling_of_the_factors_is_what_makes_lora_predictable() -> None:
    task = Factored()
    sizes = blocks(task.parameters)
    coupled, uncoupled = (ShadowTrajectories(sizes, task.contributors) for _ in range(2))
    full = task.train(coupled)
    assert torch.equal(task.train(uncoupled, coupled=lambda: False), full)
    truth = torch.stack([full - task.train(ShadowTrajectories(sizes, 0), c) for c in range(task.contributors)])
    error, without = (float((s.vectors() - truth).norm() / truth.norm()) for s in (coupled, uncoupled))
    assert error < 0.3
    assert error < 0.4 * without


def test_placebos_do_not_touch_the_real_run() -> None:
    plain, observed = ShadowTrajectories(BLOCKS, C), ShadowTrajectories(BLOCKS, C + 2)
    a, b = torch.zeros(2, P)
    for step in range(STEPS):
        rows, noise = dict(enumerate(GRADIENTS[step])), {C: GRADIENTS[-1 - step, 0]}
        plain.step(a, batch(rows, GRADIENTS[0]), RATES[step])
        observed.step(b, batch(rows, GRADIENTS[0], noise if step % 2 else {}), RATES[step])
        assert torch.equal(a, b)
    assert torch.allclose(observed.vectors()[:C], plain.vectors(), atol=1e-6)
    assert float(observed.vectors()[C].norm()) > 0.0
    assert float(observed.vectors()[C + 1].norm()) == 0.0
