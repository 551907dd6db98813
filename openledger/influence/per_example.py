"""Per-example gradients of LoRA weights from one backward pass over a batch.

For a linear map y = W x, example b's gradient is sum_t delta[b, t] (x) x[b, t], where delta is the loss' gradient
with respect to y. So it is enough to record x in the forward pass and to ask autograd for delta: the weights' own
(summed) gradients are never formed. This is the factorisation of "ghost" methods (Goodfellow, arXiv:1510.01799;
LoGra, arXiv:2405.13954); LoRA's maps are so thin that the full per-example gradients [B, P] can be kept. DoRA's
magnitudes are maps of one weight a row, y = m (u / n): there it is sum_t delta[b, t] u[b, t] / n, row by row. The
examples of a batch must not interact (no batch norm). This module knows neither losses nor contributors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from openledger.influence.dora import Magnitude
from openledger.influence.parameters import Parameter, layout


class PerExampleGradients:
    """Taps on linear maps (name -> map). Use as a context manager around forward and backward passes.

    Each map must be applied exactly once per forward pass, to inputs [B, T, features].
    """

    def __init__(self, maps: Mapping[str, nn.Linear | Magnitude]) -> None:
        self.parameters: tuple[Parameter, ...] = layout({name: linear.weight.shape for name, linear in maps.items()})
        self.size = sum(parameter.size for parameter in self.parameters)
        self._maps = [maps[parameter.name] for parameter in self.parameters]
        self._taps: dict[int, tuple[Tensor, Tensor]] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        for i, linear in enumerate(self._maps):
            self._hooks.append(linear.register_forward_hook(lambda _m, x, y, i=i: self._record(i, x, y)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._taps.clear()

    def _record(self, i: int, inputs: tuple[Tensor, ...], y: Tensor) -> None:
        x, *norm = inputs
        self._taps[i] = (x.detach() / norm[0] if norm else x.detach()), y

    def inputs(self) -> list[Tensor]:
        """Each map's input in the last forward pass, in vector order: [B, T, in]; of a magnitude u / n."""
        return [self._taps[i][0] for i in range(len(self._maps))]

    def deltas(self, outputs: Tensor, cotangent: Tensor | None = None, *, keep_graph: bool = False) -> list[Tensor]:
        """Gradients of <outputs, cotangent> with respect to each map's output, in vector order: [B, T, out].

        outputs: any tensor of the last forward pass; cotangent: same shape, or None for a scalar (a sum of losses).
        keep_graph allows another call on the same forward pass.
        """
        ends = [self._taps[i][1] for i in range(len(self._maps))]
        return list(torch.autograd.grad(outputs, ends, cotangent, retain_graph=keep_graph))

    def rows(self, deltas: Sequence[Tensor]) -> Tensor:
        """float32 [B, P]: row b is example b's gradient with respect to the maps' weights."""
        rows = torch.empty(len(deltas[0]), self.size)
        start = 0
        for x, delta, parameter in zip(self.inputs(), deltas, self.parameters, strict=True):
            stop = start + parameter.size
            if len(parameter.shape) == 1:
                rows[:, start:stop] = (delta.float() * x.float()).sum(1)
            else:
                per_example = torch.bmm(delta.float().transpose(1, 2), x.float())  # [B, out, T] @ [B, T, in]
                rows[:, start:stop] = per_example.flatten(1)
            start = stop
        return rows

    def gradients(self, outputs: Tensor, cotangent: Tensor | None = None, *, keep_graph: bool = False) -> Tensor:
        """``rows`` of ``deltas``: row b is the gradient of example b's part of <outputs, cotangent>."""
        return self.rows(self.deltas(outputs, cotangent, keep_graph=keep_graph))
