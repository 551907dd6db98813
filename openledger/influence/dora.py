"""DoRA's arithmetic (weight-decomposed LoRA, arXiv:2402.09353): a magnitude for each row of an adapted map.

    y = g (V x),    V = W + s B A,    n = the lengths of V's rows,    g = m / n         [out] each, applied row by row

as PEFT computes it. Training treats n as a constant in the backward pass (section 4.3 of the paper), yet n moves when A
and B do. So what training follows is a *field*, and no gradient of the loss. What tells the two apart is one linear map
of displacements: the output moves with (dA, dB, dm) as if n stood still and the magnitude had moved by

    dm - g dn,        dn = rowdot(V, s (dB A + B dA)) / n.

Its transpose makes the loss' gradient of the field (docs/adr/0018-dora.md). This module knows no model, no loss, and no
layout of files beyond the tensor's name.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

MAGNITUDE = ".lora_magnitude_vector"
"""How PEFT's name for the tensor ends."""


class Magnitude(nn.Module):
    """``m / n * u``, for outputs u of V: a diagonal map whose weight [out] is the magnitude."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, u: Tensor, norm: Tensor) -> Tensor:
        """[..., out], [out] -> [..., out]."""
        return self.weight / norm * u


@dataclass(frozen=True, eq=False)
class Decomposed:
    """The tensors of one map: W [out, in], A [r, in], B [out, r], m [out], and the scaling s.

    They are the adapter's own, so every answer is of the weights as they stand.
    """

    weight: Tensor
    a: Tensor
    b: Tensor
    magnitude: Tensor
    scaling: float

    def direction(self) -> Tensor:
        """V [out, in], in float32 whatever the precision around it."""
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return self.weight + self.scaling * (self.b @ self.a)

    def norm(self) -> Tensor:
        """Lengths n of its rows [out]."""
        return row_lengths(self.direction())

    def stretch(self, a: Tensor, b: Tensor) -> Tensor:
        """Change dn [R, out] of those lengths for displacements of A [R, r, in] and of B [R, out, r]."""
        v = self.direction()
        along_a = (a.flatten(0, 1) @ v.T).view(len(a), -1, len(v)).transpose(1, 2)  # V dA^T [R, out, r]
        change = (along_a * self.b).sum(2) + (b * (v @ self.a.T)).sum(2)
        result: Tensor = self.scaling * change / row_lengths(v)
        return result

    def gradient(self, a: Tensor, b: Tensor, magnitude: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss' gradient in A, B and m, made of the field's parts [r, in], [out, r], [out]: n's share comes in."""
        v = self.direction()
        norm = row_lengths(v)
        share = (self.scaling * self.magnitude / norm.square() * magnitude)[:, None]
        return a - (share * self.b).T @ v, b - share * (v @ self.a.T), magnitude


def row_lengths(weight: Tensor) -> Tensor:
    """Euclidean length of each row: [out, in] -> [out]."""
    lengths: Tensor = torch.linalg.vector_norm(weight, dim=1)
    return lengths
