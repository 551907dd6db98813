"""The part of the Hessian by which the two factors of a LoRA map act on each other.

A LoRA map is y = W x + s B (A x). Its weights' gradients are grad_B = sum_t d_t (A x_t)^T and grad_A =
sum_t (B^T d_t) x_t^T, with d the loss' gradient at the output of B: each is linear in the *other* factor. So however
straight the network is, displacing A and B by dA and dB changes the gradients, d and x held fixed, by exactly

    change of grad_B = M dA^T        change of grad_A = dB^T M        M = sum_t d_t x_t^T   [out, in]

The Gauss-Newton matrix leaves this out, for it is the loss' slope times the second derivative of the map. But B starts
at zero, so that early in training everything A learns comes through B: without this term what is predicted of a
contributor's removal points in a clearly wrong direction (``bench/lds`` follows "shadow, no coupling" beside it).

DoRA's maps have a magnitude as well, and a coupling of their own: ``coupling_dora``.

This module knows shapes and sums; it does not know where d and x come from, nor what displacements are used for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from openledger.influence.dora import MAGNITUDE
from openledger.influence.parameters import Parameter

FACTORS = (".lora_A.weight", ".lora_B.weight")


def groups(parameters: Sequence[Parameter]) -> list[tuple[Parameter, ...]]:
    """The parameters of each linear map: its A, its B, and with DoRA its magnitude.

    Raises ValueError for a layout that does not consist of such groups.
    """
    each = 3 if any(parameter.name.endswith(MAGNITUDE) for parameter in parameters) else 2
    found = [tuple(parameters[start : start + each]) for start in range(0, len(parameters), each)]
    for group in found:
        prefix = group[0].name.removesuffix(FACTORS[0])
        names = [prefix + kind for kind in (*FACTORS, MAGNITUDE)[:each]]
        if [parameter.name for parameter in group] != names:
            raise ValueError(f"{' and '.join(p.name for p in group)} do not make up the factors of one map")
        a, b, *magnitude = (parameter.shape for parameter in group)
        if a[0] != b[1] or any(shape != b[:1] for shape in magnitude):
            raise ValueError(f"the factors of {prefix} do not fit each other")
    return found


def blocks(parameters: Sequence[Parameter]) -> list[int]:
    """Sizes of an adapter's blocks: one linear map each. Raises ValueError as ``groups``."""
    return [sum(parameter.size for parameter in group) for group in groups(parameters)]


class Coupling:
    """Of one batch, for R displacements: block k of the product with displacement r leaves out the records r owns."""

    def __init__(
        self, parameters: Sequence[Parameter], displacements: Sequence[Tensor], owners: Sequence[Sequence[int]]
    ) -> None:
        """displacements: per block [R, size]; owners: for each record of the batch the rows it is left out of."""
        self._pairs = [(a.shape, b.shape) for a, b, *_ in groups(parameters)]
        self._displacements, self._owners = displacements, owners
        self._sums: list[Tensor | None] = [None] * len(self._pairs)
        self._rows = torch.tensor(sorted({row for rows in owners for row in rows}), dtype=torch.int64)
        self._own = [torch.zeros(0)] * len(self._pairs)
        """What the batch's own records add, for those rows alone: of many displacements few own any of it."""

    def take(self, records: Sequence[int], inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> None:
        """Take part of the batch: records' places in it; all taps' inputs and deltas, in vector order."""
        self.add(records, inputs[::2], deltas[1::2])

    def add(self, records: Sequence[int], inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> None:
        """Take part of the batch: records' places in it; x of each A [b, T, in] and d of each B [b, T, out]."""
        for k, (x, d) in enumerate(zip(floats(inputs), floats(deltas), strict=True)):
            product = d.flatten(0, 1).T @ x.flatten(0, 1)
            earlier = self._sums[k]
            self._sums[k] = product if earlier is None else earlier.add_(product)
        self.leave_out(records, inputs, deltas)

    def leave_out(self, records: Sequence[int], inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> None:
        """Of what ``add`` takes, note what its owners' products do without."""
        for k, (x, d) in enumerate(zip(floats(inputs), floats(deltas), strict=True)):
            for place, record in enumerate(records):
                if self._owners[record]:
                    self._take_out(k, torch.tensor(self._owners[record]), x[place], d[place])

    def _take_out(self, k: int, owners: Tensor, x: Tensor, d: Tensor) -> None:
        """A record's own product with its owners' displacements, by tokens: cheaper than its own M."""
        a, b = self._factors(k, owners)
        to_a = (d @ b).transpose(1, 2) @ x  # ([T, out] @ [n, out, r])^T @ [T, in]
        to_b = d.T @ (x @ a.transpose(1, 2))
        self._note(k, owners, torch.cat([to_a.flatten(1), to_b.flatten(1)], dim=1))

    def _note(self, k: int, owners: Tensor, theirs: Tensor) -> None:
        """theirs: what a record would add to its owners' products [n, size]."""
        if not len(self._own[k]):
            self._own[k] = torch.zeros(len(self._rows), theirs.shape[1])
        self._own[k].index_add_(0, torch.searchsorted(self._rows, owners), theirs)

    def _without_own(self, k: int, product: Tensor) -> Tensor:
        """Take what records add out of their owners' products [R, size], in place."""
        return product.index_add_(0, self._rows, self._own[k], alpha=-1) if len(self._own[k]) else product

    def seen(self, k: int) -> Tensor:
        """Block k of the displacements as the map's output sees them, the tapped weights moved alone: [R, size]."""
        return self._displacements[k]

    def product(self, k: int) -> Tensor:
        """Block k of the change of the gradients: [R, size]."""
        total = self._sums[k]
        assert total is not None, "a batch has at least one record"
        a, b = self._factors(k, slice(None))
        rows = len(a)
        to_a = b.transpose(1, 2).flatten(0, 1) @ total  # [R r, out] @ [out, in]
        to_b = (a.flatten(0, 1) @ total.T).view(rows, a.shape[1], len(total)).transpose(1, 2)  # [R, out, r]
        return self._without_own(k, torch.cat([to_a.view(a.shape).flatten(1), to_b.flatten(1)], dim=1))

    def _factors(self, k: int, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Displacements of A [rows, r, in] and B [rows, out, r]."""
        a, b = self._pairs[k]
        block = self._displacements[k][rows]
        split = a[0] * a[1]
        return block[:, :split].view(-1, *a), block[:, split : split + b[0] * b[1]].view(-1, *b)


def floats(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """Each in float32."""
    return (tensor.float() for tensor in tensors)
