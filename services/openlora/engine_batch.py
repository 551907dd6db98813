"""Requests that take their next tokens together on a transformers model: one forward pass, whatever their adapters.

Rows are as long as the longest, filled up on the left with what attention does not see, so that every row ends at the
same place. A request joins by a pass over its prompt alone, and leaves at any time. On two cores a pass is mostly spent
on reading the model's weights, so eight rows take little longer than one. Every layer keeps all keys and values, also
where a model looks back over a window only: the window is in the mask. What it does not know: tokens' choice, and when
an answer ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.openlora.engine_lora import AdapterWeights, LoraHooks

if TYPE_CHECKING:
    import torch

KeysAndValues = list[tuple["torch.Tensor", "torch.Tensor"]]
"""By layer, each [rows, heads, length, width]."""


class Batch:
    """Rows in the order in which they joined. For one thread at a time."""

    def __init__(self, model: Any, hooks: LoraHooks) -> None:
        self._model, self._hooks = model, hooks
        self._cache: Any = None
        self._lengths: list[int] = []
        """Tokens of each row that are in the cache, which is as long as the longest."""
        self._weights: list[AdapterWeights | None] = []

    def join(self, prompt: Sequence[int], weights: AdapterWeights | None) -> torch.Tensor:
        """Read a prompt into a new last row; the logits [vocabulary] after it."""
        import torch
        from transformers import DynamicCache

        cache = DynamicCache()
        with torch.inference_mode(), self._hooks.applied([weights]):
            inputs = torch.tensor([list(prompt)])
            output = self._model(inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
            if self._lengths:
                cache = DynamicCache(_below(_tensors(self._cache), _tensors(cache)))
        self._cache = cache
        self._lengths.append(len(prompt))
        self._weights.append(weights)
        logits: torch.Tensor = output.logits[0, -1].float()
        return logits

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Add a token to every row; the logits [rows, vocabulary] after it."""
        import torch

        length = max(self._lengths) + 1
        lengths = torch.tensor(self._lengths)[:, None]
        seen = torch.arange(length)[None, :] >= length - 1 - lengths
        with torch.inference_mode(), self._hooks.applied(self._weights):
            output = self._model(
                torch.tensor(list(tokens))[:, None],
                attention_mask=seen.long(),
                position_ids=lengths,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._lengths = [each + 1 for each in self._lengths]
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Let all other rows go; these are the rows from now on."""
        import torch
        from transformers import DynamicCache

        if len(rows) == len(self._lengths):
            return
        self._lengths = [self._lengths[row] for row in rows]
        self._weights = [self._weights[row] for row in rows]
        if not rows:
            self._cache = None
            return
        longest, chosen = max(self._lengths), torch.tensor(list(rows))
        with torch.inference_mode():
            kept = [
                (keys[:, :, -longest:].index_select(0, chosen), values[:, :, -longest:].index_select(0, chosen))
                for keys, values in _tensors(self._cache)
            ]
            self._cache = DynamicCache(kept)


def _tensors(cache: Any) -> KeysAndValues:
    return [(keys, values) for keys, values, *_ in cache]


def _below(rows: KeysAndValues, more: KeysAndValues) -> KeysAndValues:
    """Rows above others, the shorter ones filled up on the left."""
    return [
        (_joined(keys, more_keys), _joined(values, more_values))
        for (keys, values), (more_keys, more_values) in zip(rows, more, strict=True)
    ]


def _joined(rows: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
    import torch

    length = max(rows.shape[-2], more.shape[-2])
    return torch.cat([torch.nn.functional.pad(each, (0, 0, length - each.shape[-2], 0)) for each in (rows, more)])
