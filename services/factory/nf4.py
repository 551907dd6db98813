"""A frozen base in four bits a weight, for training alone: the base of QLoRA (Dettmers et al., arXiv:2305.14314).

Blocks of 64 weights share a scale, their largest magnitude; each is one of sixteen levels that halve a normal
distribution evenly (NF4, appendix E there).  4.5 bits a weight; the scales are not quantised once more.  Packed as
bitsandbytes packs.  A map's weights are unpacked when it is used, forward and backward, and not kept.  This module
knows neither LoRA nor training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from openledger.influence.adapter_config import ALL_LINEAR
from openledger.influence.decoder import Decoder

BLOCK = 64
BITS = 4 + 32 / BLOCK
"""A weight, its share of the scale included."""
LEVELS = torch.tensor(
    (
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    )
)
_BETWEEN = (LEVELS[1:] + LEVELS[:-1]) / 2
_PAIRS = torch.stack([LEVELS.repeat_interleave(16), LEVELS.repeat(16)], dim=1)
"""What a byte stands for: [256, 2]."""


def quantise(decoder: Decoder) -> None:
    """Put the linear maps of every layer into four bits, one after the other; embeddings, norms and head stay."""
    maps = [
        (path, module)
        for path, module in decoder.model.named_modules()
        if isinstance(module, nn.Linear) and path.rpartition(".")[2] in ALL_LINEAR
    ]
    while maps:
        path, linear = maps.pop()
        decoder.model.set_submodule(path, Nf4Linear(linear))


def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Any shape, n weights -> uint8 [ceil(n / 64) * 32], two weights a byte, and scales float32 [ceil(n / 64)]."""
    flat = weight.flatten()
    blocks = functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(dim=1)
    relative = blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    level = torch.bucketize(relative, _BETWEEN, out_int32=True).flatten()
    return (level[::2] * 16 + level[1::2]).to(torch.uint8), scales


def unpack(packed: Tensor, scales: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of ``pack``, up to the rounding to levels: float32."""
    blocks = functional.embedding(packed.int(), _PAIRS).view(-1, BLOCK) * scales[:, None]
    return blocks.flatten()[: torch.Size(shape).numel()].view(*shape)


class Nf4Linear(nn.Linear):
    """A frozen linear map whose weights are packed; ``weight`` has their shape and no content."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.requires_grad_(False)
        self.bias = linear.bias
        self.packed, self.scales = (nn.Buffer(part) for part in pack(linear.weight.detach()))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        result: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return result

    def unpacked(self) -> Tensor:
        """The weights that it computes with: float32 [out, in]."""
        return unpack(self.packed, self.scales, (self.out_features, self.in_features))


class _Product(torch.autograd.Function):
    """``x W^T + b``, which unpacks W anew in the backward pass and does not hold it in between."""

    @staticmethod
    def forward(context: Any, x: Tensor, linear: Nf4Linear) -> Tensor:
        context.linear = linear
        return functional.linear(x, linear.unpacked(), linear.bias)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ context.linear.unpacked().to(gradient.dtype), None
