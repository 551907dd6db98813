"""A Llama-shaped language model cut in two: a frozen trunk, and the upper layers that LoRA adapters change.

What the trunk computes is the same for every adapter, every training step and every retraining, so it is computed once.
Right-padded batches only: under a causal mask real tokens never see padding, and no padding mask is needed. This module
knows nothing of adapters, losses or gradients.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class BaseModelError(ValueError):
    """The folder does not hold a base model that this code can run."""


class Decoder:
    """A float32 causal language model on the CPU, in evaluation mode, all its weights frozen."""

    def __init__(self, model: Any) -> None:
        self.model: nn.Module = model.eval().requires_grad_(False)
        self.body: Any = model.model
        self.head: nn.Linear = model.lm_head
        self.vocabulary = int(model.config.vocab_size)
        self.context = int(model.config.max_position_embeddings)
        self.layers = len(self.body.layers)
        self.width = int(model.config.hidden_size)

    @classmethod
    def load(cls, folder: Path) -> Decoder:
        """Load a base model folder (config.json, model.safetensors). Raises BaseModelError with the reason."""
        from transformers import LlamaConfig, LlamaForCausalLM

        try:
            config = LlamaConfig.from_pretrained(folder)
            if config.model_type != "llama":
                raise BaseModelError(f"the base model in {folder} is of type {config.model_type!r}; llama is supported")
            model = LlamaForCausalLM.from_pretrained(
                folder, config=config, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True
            )
        except OSError as error:
            raise BaseModelError(f"cannot load the base model in {folder}: {error}") from error
        return cls(model)

    def trunk(self, ids: Tensor, layers: int) -> Tensor:
        """Embeddings and the first ``layers`` layers: int64 [B, T] -> float32 [B, T, width]. No gradient."""
        with torch.no_grad():
            return self._run(self.body.embed_tokens(ids), 0, layers)

    def upper(self, hidden: Tensor, layers: int) -> Tensor:
        """From the trunk's output on to the final norm: [B, T, width] -> [B, T, width]."""
        result: Tensor = self.body.norm(self._run(hidden, layers, self.layers))
        return result

    def _run(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        positions = torch.arange(hidden.shape[1])[None]
        rotary = self.body.rotary_emb(hidden, position_ids=positions)
        for layer in self.body.layers[start:stop]:
            # No mask: scaled_dot_product_attention then applies the causal one itself.
            hidden = layer(hidden, attention_mask=None, position_embeddings=rotary, position_ids=positions)
        return hidden
