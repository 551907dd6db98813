"""The worker that vLLM runs on a CPU, with LoRA arithmetic that is right, and faster where tokens share an adapter.

vLLM's CPU kernels look an adapter up by each token's slot, and tokens of the base model have slot -1: in a mixed batch
they get the last slot's adapter. They also copy an adapter's matrices once a token, and multiply by the zeros of layers
that an adapter does not touch. Here tokens are grouped by adapter: base tokens are in no group, a group is one product,
and layers without weights cost nothing. tests/contract/engine holds it to PEFT's results.

This module is imported in vLLM's own process, by name. It does not know requests, adapters' names, or anything of ours.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform
from vllm.v1.worker.cpu_worker import CPUWorker

Rows = slice | torch.Tensor


class GroupedLora(PunicaWrapperCPU):  # type: ignore[misc]  # vLLM is not typed for us
    """LoRA products of a batch, one per adapter and linear map."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._groups: list[tuple[int, Rows]] = []
        self._each: tuple[Rows, torch.Tensor] | None = None
        self._filled: dict[int, tuple[int, list[bool]]] = {}

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Before each step: note which rows belong to which adapter slot."""
        super().update_metadata(*args, **kwargs)
        slots = self.token_lora_indices
        self._groups = [(slot, _rows(slots == slot)) for slot in slots.unique().tolist() if slot >= 0]
        adapted = slots >= 0
        alone = len(self._groups) > 1 and int(adapted.sum()) <= 2 * len(self._groups)
        self._each = (_rows(adapted), slots[adapted]) if alone else None

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        add_inputs: bool = True,
        **_: Any,
    ) -> None:
        """Add x A^T B^T * scale to the rows of y that an adapter answers; each output slice has its own A and B.

        Shapes: y [tokens, sum(output_slices)], x [tokens, in], A [slots, 1, rank, in], B [slots, 1, out, rank].
        """
        inputs, outputs = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        if not add_inputs:
            outputs.zero_()
        begin = 0
        for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            groups = [(slot, rows) for slot, rows in self._groups if self._has_weights(b, slot)]
            slice_ = outputs[:, begin : begin + width]
            if self._each and groups and x.dtype != torch.float32:
                # Groups are of a token or two.  A product in half precision costs much before it begins, so that
                # all at once are faster, though their matrices are copied.
                rows, slots = self._each
                low = torch.bmm(inputs[rows].unsqueeze(1), a[slots, 0].transpose(1, 2))
                slice_[rows] += torch.bmm(low, b[slots, 0].transpose(1, 2)).squeeze(1) * scale
            else:
                for slot, rows in groups:
                    _add(slice_, rows, inputs[rows] @ a[slot, 0].T, b[slot, 0].T, scale)
            begin += width

    def _has_weights(self, b: torch.Tensor, slot: int) -> bool:
        """Whether a slot's B is not all zero; looked up again only after the tensor was written to."""
        known = self._filled.get(id(b))
        if known is None or known[0] != b._version:
            known = self._filled[id(b)] = b._version, b.flatten(1).any(dim=1).tolist()
        return known[1][slot]


def _add(y: torch.Tensor, rows: Rows, low: torch.Tensor, b: torch.Tensor, scale: float) -> None:
    """y[rows] += low b * scale, in place where the rows lie together."""
    if isinstance(rows, slice):
        y[rows].addmm_(low, b, alpha=scale)
    else:
        y[rows] += low @ b * scale


def _rows(mask: torch.Tensor) -> Rows:
    """The rows that a mask selects: as a slice where they lie together, which needs no copy."""
    found = mask.nonzero().flatten()
    first, last = int(found[0]), int(found[-1])
    return slice(first, last + 1) if last - first + 1 == len(found) else found


class Worker(CPUWorker):  # type: ignore[misc]  # vLLM is not typed for us
    """vLLM's CPU worker with `GroupedLora`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if current_platform.get_punica_wrapper() != f"{__name__}.{GroupedLora.__name__}":
            # With its own arithmetic vLLM gives base requests the last slot's adapter: wrong answers, rightly paid for.
            raise RuntimeError(
                "vLLM would compute LoRA in its own way: unset VLLM_TARGET_DEVICE and VLLM_PLUGINS, and let nothing "
                "import vLLM before services.openlora.engine_vllm_start does"
            )
