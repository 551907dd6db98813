"""Attention over long answers in blocks of queries, so that its memory grows with the tokens and not with their square.

Math attention holds a row of weights for every token and head: 8,192 tokens under 9 heads are 2.4 GB a layer, and the
backward pass keeps them of every layer.  Here a block of rows is computed at a time, and again for the backward pass.
Up to `WHOLE` tokens nothing is changed, bit for bit; beyond, sums are taken in another order.  Knows no models: only
causal attention, and attention by a mask that leaves out what comes after, is taken apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

WHOLE = 2048
"""Tokens up to which attention is computed at once: 150 MB a layer under 9 heads."""
ROWS = 256


def attention_over(tokens: int) -> AbstractContextManager[Any]:
    """In this context attention is computed in blocks, if there are so many tokens that it should be."""
    return _InBlocks() if tokens > WHOLE else nullcontext()


class _InBlocks(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        long = func is scaled_dot_product_attention and args[0].shape[-2] > WHOLE
        mask = given.pop("attn_mask", None) if long else None
        if long and (given.pop("is_causal", False) or mask is not None):
            query, key, value = args[:3]
            return _in_blocks(query, key, value, mask, given)
        return func(*args, **(kwargs or {}))


def _in_blocks(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, more: Mapping[str, Any]) -> Tensor:
    """query, key, value: [..., T, D] with one T; mask: bool or float [..., T, T], else causal."""
    blocks = []
    for start in range(0, query.shape[-2], ROWS):
        stop = min(start + ROWS, query.shape[-2])
        attend = partial(_block, mask=None if mask is None else mask[..., start:stop, :stop], more=more)
        given = query[..., start:stop, :], key[..., :stop, :], value[..., :stop, :]
        if torch.is_grad_enabled():
            blocks.append(checkpoint(attend, *given, use_reentrant=False, preserve_rng_state=False))
        else:
            blocks.append(attend(*given))
    return torch.cat(blocks, dim=-2)


def _block(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, more: Mapping[str, Any]) -> Tensor:
    """The last queries of so many keys."""
    if mask is None:
        places = torch.arange(key.shape[-2], device=key.device)
        mask = places[-query.shape[-2] :, None] >= places
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, **more)
