"""From logits to the next token. What it does not know: models, text, and where the seed comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.openlora.engine import Sampling

if TYPE_CHECKING:
    import torch

GREEDY_BELOW = 1e-5
"""Temperatures below this are 0, as in vLLM."""


def next_token(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token id from logits [vocabulary] in float32.

    Raises:
        ValueError: the logits are not numbers.
    """
    import torch

    if bool(torch.isnan(logits).any()):
        raise ValueError("the model's output is not a number")
    if sampling.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    ranked, ids = (logits / sampling.temperature).sort(descending=True, stable=True)
    if sampling.top_k:
        ranked, ids = ranked[: sampling.top_k], ids[: sampling.top_k]
    odds = ranked.softmax(-1)
    # The smallest set of tokens whose odds reach top_p, the likeliest always among them.
    kept = int((odds.cumsum(-1) - odds < sampling.top_p).sum())
    return int(ids[torch.multinomial(odds[:kept], 1, generator=generator)])
