"""The part of the Hessian by which the two factors of a LoRA map act on each other.

A LoRA map is y = W x + s B (A x). Its weights' gradients are grad_B = sum_t d_t (A x_t)^T and grad_A =
sum_t (B^T d_t) x_t^T, with d the loss' gradient at the output of B: each is linear in the *other* factor. So however
straight the network is, displacing A and B by dA and dB changes the gradients, d and x held fixed, by exactly

    change of grad_B = M dA^T        change of grad_A = dB^T M        M = sum_t d_t x_t^T   [out, in]

The Gauss-Newton matrix leaves this out, for it is the loss' slope times the second derivative of the map. But B starts
at zero, so that early in training everything A learns comes through B: without this term what is predicted of a
contributor's removal points in a clearly wrong direction (``bench/lds`` follows "shadow, no coupling" beside it).

This module knows shapes and sums; it does not know where d and x come from, nor what displacements are used for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from openledger.influence.parameters import Parameter

FACTORS = (".lora_A.weight", ".lora_B.weight")


def blocks(parameters: Sequence[Parameter]) -> list[int]:
    """Sizes of a LoRA parameter vector's blocks: one linear map each, its A before its B.

    Raises ValueError for a layout that does not consist of such pairs.
    """
    pairs = list(zip(parameters[::2], parameters[1::2], strict=False))
    for a, b in pairs:
        prefix = a.name.removesuffix(FACTORS[0])
        if b.name != prefix + FACTORS[1] or prefix == a.name or a.shape[0] != b.shape[1]:
            raise ValueError(f"{a.name} and {b.name} are not the two factors of a LoRA map")
    if 2 * len(pairs) != len(parameters):
        raise ValueError("the layout has a factor without its other half")
    return [a.size + b.size for a, b in pairs]


class Coupling:
    """Of one batch, for R displacements: block k of the product with displacement r leaves out the records r owns."""

    def __init__(
        self, parameters: Sequence[Parameter], displacements: Sequence[Tensor], owners: Sequence[Sequence[int]]
    ) -> None:
        """displacements: per block [R, size]; owners: for each record of the batch the rows it is left out of."""
        self._pairs = [(a.shape, b.shape) for a, b in zip(parameters[::2], parameters[1::2], strict=True)]
        self._displacements, self._owners = displacements, owners
        self._sums: list[Tensor | None] = [None] * len(self._pairs)
        self._own = [torch.zeros(0)] * len(self._pairs)

    def add(self, records: Sequence[int], inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> None:
        """Take part of the batch: records' places in it; x of each A [b, T, in] and d of each B [b, T, out]."""
        for k, (x, d) in enumerate(zip(_floats(inputs), _floats(deltas), strict=True)):
            product = d.flatten(0, 1).T @ x.flatten(0, 1)
            earlier = self._sums[k]
            self._sums[k] = product if earlier is None else earlier.add_(product)
            for place, record in enumerate(records):
                if self._owners[record]:
                    self._take_out(k, torch.tensor(self._owners[record]), x[place], d[place])

    def _take_out(self, k: int, owners: Tensor, x: Tensor, d: Tensor) -> None:
        """A record's own product with its owners' displacements, by tokens: cheaper than its own M."""
        a, b = self._factors(k, owners)
        to_a = (d @ b).transpose(1, 2) @ x  # ([T, out] @ [n, out, r])^T @ [T, in]
        to_b = d.T @ (x @ a.transpose(1, 2))
        if not len(self._own[k]):
            self._own[k] = torch.zeros_like(self._displacements[k])
        self._own[k].index_add_(0, owners, torch.cat([to_a.flatten(1), to_b.flatten(1)], dim=1))

    def product(self, k: int) -> Tensor:
        """Block k of the change of the gradients: [R, size]."""
        total = self._sums[k]
        assert total is not None, "a batch has at least one record"
        a, b = self._factors(k, slice(None))
        rows = len(a)
        to_a = b.transpose(1, 2).flatten(0, 1) @ total  # [R r, out] @ [out, in]
        to_b = (a.flatten(0, 1) @ total.T).view(rows, a.shape[1], len(total)).transpose(1, 2)  # [R, out, r]
        result = torch.cat([to_a.view(a.shape).flatten(1), to_b.flatten(1)], dim=1)
        return result.sub_(self._own[k]) if len(self._own[k]) else result

    def _factors(self, k: int, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Displacements of A [rows, r, in] and B [rows, out, r]."""
        a, b = self._pairs[k]
        block = self._displacements[k][rows]
        split = a[0] * a[1]
        return block[:, :split].view(-1, *a), block[:, split:].view(-1, *b)


def _floats(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    return (tensor.float() for tensor in tensors)
