"""How a DoRA map's factors and magnitude act on each other, and on the rows' lengths, which training takes as constant.

With V, n and g as in ``dora``, d the loss' gradient at the map's output and M = sum_t d_t x_t^T [out, in], training
follows the field

    F_A = s B^T diag(g) M        F_B = s diag(g) M A^T        F_m = rowdot(M, V) / n.

Displacing A, B and m by dA, dB and dm moves V by dV = s (dB A + B dA), n by dn = rowdot(V, dV) / n and g by
dg = (dm - g dn) / n; and so the field, d and x held fixed, by exactly

    dF_A = s (diag(g) dB + diag(dg) B)^T M      dF_B = s (diag(g) M dA^T + diag(dg) M A^T)
    dF_m = (rowdot(M, dV) - dn F_m) / n.

It is no second derivative of anything (n stands still in the field and moves here), so it is not symmetric. It costs
one product more than LoRA's, V dA^T. This module does not know where d and x come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openledger.influence.coupling import Coupling, floats
from openledger.influence.dora import Decomposed
from openledger.influence.parameters import Parameter


class DoraCoupling(Coupling):
    """See ``Coupling``. It is of the weights as they stand: ask for products before they are moved."""

    def __init__(
        self,
        parameters: Sequence[Parameter],
        maps: Sequence[Decomposed],
        displacements: Sequence[Tensor],
        owners: Sequence[Sequence[int]],
    ) -> None:
        """maps: one a block; the rest as ``Coupling``."""
        super().__init__(parameters, displacements, owners)
        self._maps = maps
        self._moves: dict[int, _Move] = {}
        self._field: list[Tensor | None] = [None] * len(maps)
        """F_m for each displacement, without the records that it owns [R, out]."""

    def take(self, records: Sequence[int], inputs: Sequence[Tensor], deltas: Sequence[Tensor]) -> None:
        """See ``Coupling.take``: of each map come A, B and the magnitude."""
        self.add(records, inputs[::3], deltas[2::3])
        for k, (z, d) in enumerate(zip(floats(inputs[2::3]), floats(deltas[2::3]), strict=True)):
            each = (d * z).sum(1)
            field = self._field[k]
            if field is None:
                field = self._field[k] = torch.zeros(len(self._displacements[k]), each.shape[1])
            field += each.sum(0)
            for place, record in enumerate(records):
                field[list(self._owners[record])] -= each[place]

    def seen(self, k: int) -> Tensor:
        """See ``Coupling.seen``: dA, dB, and dm - g dn, which is what n's move looks like from outside."""
        block, outputs = self._displacements[k], self._pairs[k][1][0]
        return torch.cat([block[:, :-outputs], self._move(k).magnitude], dim=1)

    def product(self, k: int) -> Tensor:
        """See ``Coupling.product``."""
        total, field = self._sums[k], self._field[k]
        assert total is not None, "a batch has at least one record"
        assert field is not None, "taken, and not only added"
        a, _ = self._factors(k, slice(None))
        held = total @ self._maps[k].a.T
        moved = (a.flatten(0, 1) @ total.T).view(len(a), a.shape[1], len(total)).transpose(1, 2)
        result = self._without_own(k, self._change(k, slice(None), moved, held, total))
        move = self._move(k)
        result[:, -len(total) :] -= move.stretch * field / move.norm
        return result

    def _take_out(self, k: int, owners: Tensor, x: Tensor, d: Tensor) -> None:
        """A record's own part in its owners' products, less that of n in the magnitude's, by tokens."""
        a, _ = self._factors(k, owners)
        held, moved = d.T @ (x @ self._maps[k].a.T), d.T @ (x @ a.transpose(1, 2))
        self._note(k, owners, self._change(k, owners, moved, held, d, x))

    def _change(self, k: int, rows: slice | Tensor, moved: Tensor, held: Tensor, *product: Tensor) -> Tensor:
        """Of the field for some displacements, all but - dn F_m / n: [R, size].

        moved: M dA^T [R, out, r]; held: M A^T [out, r]; product: factors whose product is M, the first one [*, out]
        where there are two.
        """
        map_, move = self._maps[k], self._move(k)
        _, b = self._factors(k, rows)
        gain, turned = move.gain[:, None], (move.magnitude[rows] / move.norm)[:, :, None]
        left = (gain * b + turned * map_.b).transpose(1, 2).flatten(0, 1)  # [R r, out]
        to_a = left @ product[0] if len(product) == 1 else (left @ product[0].T) @ product[1]
        to_b = gain * moved + turned * held
        to_m = ((held * b).sum(2) + (moved * map_.b).sum(2)) / move.norm
        return map_.scaling * torch.cat([to_a.view(len(b), -1), to_b.flatten(1), to_m], dim=1)

    def _move(self, k: int) -> _Move:
        if k not in self._moves:
            map_ = self._maps[k]
            norm, stretch = map_.norm(), map_.stretch(*self._factors(k, slice(None)))
            gain = map_.magnitude / norm
            moved = self._displacements[k][:, -len(norm) :] - gain * stretch
            self._moves[k] = _Move(norm, gain, stretch, moved)
        return self._moves[k]


class _Move:
    """What displacements do to one map's lengths: n and g [out], dn and dm - g dn [R, out]."""

    def __init__(self, norm: Tensor, gain: Tensor, stretch: Tensor, magnitude: Tensor) -> None:
        self.norm, self.gain, self.stretch, self.magnitude = norm, gain, stretch, magnitude
