"""A Llama-shaped language model cut in two: a frozen trunk, and the upper layers that LoRA adapters change.

What the trunk computes is the same for every adapter, every training step and every retraining, so it is computed once.
Right-padded batches only: under a causal mask real tokens never see padding, and no padding mask is needed. Which
families of models there are, `openledger.base_model_shape` says. This module knows nothing of adapters, losses or
gradients.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from openledger import pretrained
from openledger.base_model_shape import BaseModelError, BaseModelShape

__all__ = ["BaseModelError", "Decoder"]


class Decoder:
    """A float32 causal language model on the CPU, in evaluation mode, all its weights frozen."""

    def __init__(self, model: Any, shape: BaseModelShape) -> None:
        self.model: nn.Module = model.eval().requires_grad_(False)
        self.body: Any = model.model
        self.head: nn.Linear = model.lm_head
        self.vocabulary, self.context = shape.vocabulary, shape.context
        self.layers, self.width = shape.layers, shape.width
        self._windows = shape.windows

    @classmethod
    def load(cls, folder: Path) -> Decoder:
        """Load a base model folder (config.json, model.safetensors). Raises BaseModelError with the reason."""
        try:
            shape = BaseModelShape.read(folder)
            model, found = pretrained.causal_lm(
                folder, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True
            )
        except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise BaseModelError(f"cannot load the base model in {folder}: {error}") from error
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if names := sorted(map(str, found[what])):
                raise BaseModelError(
                    f"config.json and the weights in {folder} do not belong together ({what.replace('_', ' ')}: "
                    f"{', '.join(names[:3])}{', ...' if names[3:] else ''}): take both from one repository"
                )
        return cls(model, shape)

    def trunk(self, ids: Tensor, layers: int) -> Tensor:
        """Embeddings and the first ``layers`` layers: int64 [B, T] -> float32 [B, T, width]. No gradient."""
        with torch.no_grad():
            return self._run(self.body.embed_tokens(ids), 0, layers)

    def upper(self, hidden: Tensor, layers: int) -> Tensor:
        """From the trunk's output on to the final norm: [B, T, width] -> [B, T, width]."""
        result: Tensor = self.body.norm(self._run(hidden, layers, self.layers))
        return result

    def _run(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        length = hidden.shape[1]
        positions = torch.arange(length)[None]
        rotary = self.body.rotary_emb(hidden, position_ids=positions)
        masks = {window: _mask(length, window) for window in set(self._windows)}
        for layer, window in zip(self.body.layers[start:stop], self._windows[start:stop], strict=True):
            hidden = layer(hidden, attention_mask=masks[window], position_embeddings=rotary, position_ids=positions)
        return hidden


def _mask(length: int, window: int | None) -> Tensor | None:
    """What each token attends to, bool [1, 1, T, T], where a window leaves out some of what came before it.

    Elsewhere None: scaled_dot_product_attention then applies the causal mask itself.
    """
    if window is None or length <= window:
        return None
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return ((distance >= 0) & (distance < window))[None, None]
