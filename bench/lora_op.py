"""LoRA arithmetic on a CPU: tokens grouped by adapter, against vLLM's own operation, by tokens and adapters.

    python -m bench lora_op               about four minutes, on one thread
    python -m bench lora_op --quick       seconds, the same code

Both compute the four adapted maps of one decoder layer of SmolLM2-135M (q, k and v at once; o; gate and up at once;
down), one after the other, in float32 and in bfloat16.  Up to `DECODING` tokens each is of another request, as in a
batch that decodes; more are prompts, in which an adapter's tokens lie together.  No token is the base model's, for with
those vLLM's own operation is wrong.  Beside the times stand both errors: largest difference from the same in float64,
relative to the largest number.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import result

HIDDEN, HEADS, KEYS, INNER = 576, 576, 192, 1536
MAPS = (
    (HIDDEN, (HEADS, KEYS, KEYS)),
    (HEADS, (HIDDEN,)),
    (HIDDEN, (INNER, INNER)),
    (INNER, (HIDDEN,)),
)
"""Of a layer: inputs, and the output slices."""
SLOTS, RANK, SCALE = 16, 16, 2.0
DECODING = 16


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    tokens: tuple[int, ...] = (1, 4, 16, 128, 512)
    adapters: tuple[int, ...] = (1, 4, 8, 16)
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    repeats: int = 30


QUICK = Size(tokens=(4, 64), adapters=(1, 4), repeats=3)


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/lora_op.json, or lora_op-quick.json."""
    size = QUICK if quick else Size()
    rows = measure(size)
    for row in rows:
        print(row, file=sys.stderr, flush=True)
    settings = vars(size) | {"slots": SLOTS, "rank": RANK, "maps": MAPS, "threads": 1}
    print(result.write("lora_op-quick" if quick else "lora_op", figures(rows), seed=0, settings=settings, rows=rows))


def measure(size: Size) -> list[dict[str, Any]]:
    """A row for each type, and number of tokens and adapters of which there can be so many."""
    import torch

    import services.openlora.engine_vllm_start  # noqa: F401 - the environment that vLLM reads when it is imported
    from services.openlora.engine_vllm_cpu import GroupedLora, PunicaWrapperCPU

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [
            _row((PunicaWrapperCPU, GroupedLora), dtype, tokens, adapters, size.repeats)
            for dtype in size.dtypes
            for tokens in size.tokens
            for adapters in size.adapters
            if adapters <= tokens
        ]
    finally:
        torch.set_num_threads(before)


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """By how much the grouped operation is faster, by type: geometric mean over shapes, least, most."""
    found: dict[str, float] = {}
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        these = [row for row in rows if row["dtype"] == dtype]
        speedups = [row["speedup"] for row in these]
        found |= {
            f"lora_op_speedup_{dtype}": round(statistics.geometric_mean(speedups), 3),
            f"lora_op_speedup_{dtype}_least": min(speedups),
            f"lora_op_speedup_{dtype}_most": max(speedups),
            f"lora_op_difference_{dtype}": max(row["difference"] for row in these),
        }
    return found


def _row(kinds: Sequence[Any], dtype: str, tokens: int, adapters: int, repeats: int) -> dict[str, Any]:
    import torch

    chance = torch.Generator().manual_seed(tokens * 100 + adapters)
    layers = [_Map(inputs, slices, tokens, chance, getattr(torch, dtype)) for inputs, slices in MAPS]
    told = [_told(kind, tokens, adapters) for kind in kinds]
    seconds: list[list[float]] = [[], []]
    results: list[list[Any]] = [[], []]
    for turn in range(repeats + 1):
        for wrapper, taken, found in zip(told, seconds, results, strict=True):
            begun = time.perf_counter()
            outputs = [layer.through(wrapper) for layer in layers]
            taken.append(time.perf_counter() - begun)
            if not turn:
                found.extend(outputs)
    stock_ms, grouped_ms = (1000 * statistics.median(taken[1:]) for taken in seconds)
    right = [layer.exactly(told[0].token_lora_indices) for layer in layers]
    return {
        "dtype": dtype,
        "tokens": tokens,
        "adapters": adapters,
        "stock_ms": round(stock_ms, 4),
        "grouped_ms": round(grouped_ms, 4),
        "speedup": round(stock_ms / grouped_ms, 3),
        "difference": _apart(*results),
        "stock_error": _apart(results[0], right),
        "grouped_error": _apart(results[1], right),
    }


def _apart(ones: Sequence[Any], others: Sequence[Any]) -> float:
    """Largest difference, relative to the largest number."""
    far = max(float((one.double() - other.double()).abs().max()) for one, other in zip(ones, others, strict=True))
    return round(far / max(float(other.abs().max()) for other in others), 6)


def _told(kind: Any, tokens: int, adapters: int) -> Any:
    """A wrapper that was told, as vLLM tells it before a step, which token is of which adapter."""
    from vllm.lora.layers.utils import LoRAMapping

    if tokens <= DECODING:
        of_tokens = [1 + token % adapters for token in range(tokens)]
    else:
        of_tokens = sorted(1 + token % adapters for token in range(tokens))
    wrapper = kind(max_num_batched_tokens=tokens, max_batches=tokens, device="cpu")
    mapping = LoRAMapping(tuple(of_tokens), tuple(of_tokens), is_prefill=tokens > DECODING)
    wrapper.update_metadata(mapping, [*range(1, SLOTS + 1)], SLOTS, 49152)
    return wrapper


class _Map:
    """One adapted map, its inputs, and every slot's weights."""

    def __init__(self, inputs: int, slices: tuple[int, ...], tokens: int, chance: Any, dtype: Any) -> None:
        import torch

        def drawn(*shape: int) -> Any:
            return torch.randn(shape, generator=chance).to(dtype)

        self._x, self._slices = drawn(tokens, inputs), slices
        self._a = tuple(drawn(SLOTS, 1, RANK, inputs) for _ in slices)
        self._b = tuple(drawn(SLOTS, 1, width, RANK) for width in slices)

    def through(self, wrapper: Any) -> Any:
        """What the adapters add [tokens, out]."""
        import torch

        y = torch.zeros(len(self._x), sum(self._slices), dtype=self._x.dtype)
        wrapper.add_lora_linear(y, self._x, self._a, self._b, SCALE, self._slices)
        return y

    def exactly(self, slots: Any) -> Any:
        """The same in float64."""
        import torch

        parts = [
            torch.einsum("ti,tri,tor->to", self._x.double(), a[slots, 0].double(), b[slots, 0].double()) * SCALE
            for a, b in zip(self._a, self._b, strict=True)
        ]
        return torch.cat(parts, dim=1)
