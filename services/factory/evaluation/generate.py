"""Greedy answers to a few prompts at once, short and in bounded memory.

What answers is the model as it stands: attach an adapter around the call.  Control signs end an answer and are never
part of it.  This module knows neither adapters nor what the answers are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from services.factory.evaluation.budget import batches

CACHE_TOKENS = 2048
"""Tokens in the key-value cache at a time: 94 MB for SmolLM2-135M."""

Answer = tuple[int, ...]


def control_ids(tokenizer: Any) -> frozenset[int]:
    """Tokens that no text has, such as the end of a turn."""
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def greedy(
    model: Any,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    ends: frozenset[int],
    on_work: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """For each prompt the most likely tokens one after the other: up to ``new_tokens``, and none of ``ends``.

    model: a transformers causal language model.  An answer also ends where the model has no finite prediction.
    """
    answers: list[Answer] = [()] * len(prompts)
    if not new_tokens:
        return answers
    for group in batches([len(prompt) + new_tokens for prompt in prompts], CACHE_TOKENS):
        for i, answer in zip(group, _batch(model, [prompts[i] for i in group], new_tokens, ends, on_work), strict=True):
            answers[i] = answer
    return answers


def _batch(
    model: Any, prompts: Sequence[Sequence[int]], new_tokens: int, ends: frozenset[int], on_work: Callable[[], None]
) -> list[Answer]:
    ids, mask = _left_padded(prompts)
    position = (mask.cumsum(1) - 1).clamp_(min=0)
    answers: list[list[int]] = [[] for _ in prompts]
    rows = torch.arange(len(prompts))
    cache = None
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for _ in range(new_tokens):
            output = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache, logits = output.past_key_values, output.logits[:, -1]
            token = logits.argmax(dim=1)
            goes_on = torch.isfinite(logits).all(dim=1) & ~torch.isin(token, torch.tensor(sorted(ends)))
            on_work()
            if not bool(goes_on.all()):
                keep = goes_on.nonzero()[:, 0]
                if not len(keep):
                    break
                rows, token, mask, position = rows[keep], token[keep], mask[keep], position[keep]
                cache.batch_select_indices(keep)
            for row, chosen in zip(rows.tolist(), token.tolist(), strict=True):
                answers[row].append(chosen)
            ids, position = token[:, None], position[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return [tuple(answer) for answer in answers]


def _left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, int64 [b, T]: padding in front, so that all answers begin in one column."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask
