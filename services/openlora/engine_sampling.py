"""From logits to the next token, by vLLM's definitions and in its order: penalties, temperature, min_p, top_k, top_p.

What it does not know: models, text, and where the seed comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.openlora.engine import Sampling, TokenLogprobs

if TYPE_CHECKING:
    import torch

GREEDY_BELOW = 1e-5
"""Temperatures below this are 0, as in vLLM."""
SAMPLES = frozenset({"min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "logprobs"})
"""What is obeyed here beyond what every engine obeys."""


def next_token(
    logits: torch.Tensor,
    sampling: Sampling,
    generator: torch.Generator,
    prompt: Sequence[int] = (),
    made: Sequence[int] = (),
) -> int:
    """One token id from logits [vocabulary] in float32, after a prompt and what was made of the answer.

    Raises:
        ValueError: the logits are not numbers.
    """
    import torch

    if bool(torch.isnan(logits).any()):
        raise ValueError("the model's output is not a number")
    logits = _penalised(logits, sampling, prompt, made)
    if sampling.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    ranked, ids = (logits / sampling.temperature).sort(descending=True, stable=True)
    if sampling.min_p:
        odds = ranked.softmax(-1)
        ranked = ranked[: int((odds >= odds[0] * sampling.min_p).sum())]
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    odds = ranked.softmax(-1)
    # The smallest set of tokens whose odds reach top_p, the likeliest always among them.
    kept = int((odds.cumsum(-1) - odds < sampling.top_p).sum())
    return int(ids[torch.multinomial(odds[:kept], 1, generator=generator)])


def token_logprobs(logits: torch.Tensor, token: int, top: int) -> TokenLogprobs:
    """How likely a token was, and the `top` likeliest, by logits [vocabulary] as the model gave them."""
    every = logits.log_softmax(-1)
    values, ids = every.topk(min(top, len(every)))
    return TokenLogprobs(token, float(every[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))


def _penalised(logits: torch.Tensor, sampling: Sampling, prompt: Sequence[int], made: Sequence[int]) -> torch.Tensor:
    """Repetition counts prompt and answer (arXiv:1909.05858), frequency and presence the answer alone, as at OpenAI."""
    import torch

    if (sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty) == (1.0, 0.0, 0.0):
        return logits
    counts = torch.bincount(torch.tensor(made, dtype=torch.int64), minlength=len(logits))
    said = counts > 0
    known = said.index_fill(0, torch.tensor(prompt, dtype=torch.int64), 1)
    lessened = torch.where(logits > 0, logits / sampling.repetition_penalty, logits * sampling.repetition_penalty)
    logits = torch.where(known, lessened, logits)
    return logits - sampling.frequency_penalty * counts - sampling.presence_penalty * said
