"""How far canaries can be got out of a model: their exposure (Carlini et al., arXiv:1802.08232, section 4).

A canary's secret is ranked by loss among R random ones of its kind, its own included: exposure = log2 R - log2 rank,
in bits.  Nothing learned gives 1.44 bits on average; learned by heart, log2 R.  Since rank / R is a p-value, Fisher's
method joins several canaries' into one.  This module does not know how canaries were trained on.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached
from services.factory.evaluation.canaries import Canary, completion_ids, draw
from services.factory.evaluation.chat import common_front
from services.factory.evaluation.generate import CACHE_TOKENS

SIGNIFICANCE = 0.02
"""One model in fifty that learned nothing by heart is warned of; one canary ranked first of 64 suffices."""


@dataclass(frozen=True)
class CanaryExposure:
    number: int
    rank: int
    """1: the true secret is the likeliest of all.  0 where a loss is no finite number."""
    exposure: float | None
    """Bits."""


@dataclass(frozen=True)
class Exposures:
    planted: int
    """Canaries trained on."""
    alternatives: int
    """R."""
    canaries: tuple[CanaryExposure, ...]
    """Those that were measured."""
    p_value: float | None
    """Probability of as much exposure, or more, of secrets that the model never saw."""
    warns: bool
    words: str


def expose(
    decoder: Decoder,
    adapter: Adapter | None,
    tokenizer: Any,
    canaries: Sequence[Canary],
    measured: int,
    alternatives: int,
    seed: int,
    on_work: Callable[[], None] = lambda: None,
) -> Exposures:
    """Rank the secrets of the first ``measured`` canaries among ``alternatives`` under the tuned model."""
    found = []
    with attached(decoder.model, adapter) if adapter else nullcontext():
        for canary in canaries[:measured] if alternatives > 1 else ():
            rng = random.Random(f"alternatives {seed} {canary.number}")
            secrets = [canary.secret]
            while len(secrets) < alternatives:
                drawn = draw(rng)
                if drawn not in secrets:
                    secrets.append(drawn)
            rows = [completion_ids(canary.number, secret, tokenizer) for secret in secrets]
            found.append(_exposure(canary.number, _losses(decoder.model, canary.example.prompt, rows, on_work)))
    return _report(len(canaries), alternatives, tuple(found))


def _exposure(number: int, losses: torch.Tensor) -> CanaryExposure:
    """losses: [R], the true secret's first."""
    if not bool(torch.isfinite(losses).all()):
        return CanaryExposure(number, 0, None)
    rank = 1 + int((losses[1:] < losses[0]).sum())
    return CanaryExposure(number, rank, math.log2(len(losses)) - math.log2(rank))


def _losses(
    model: Any, prompt: Sequence[int], completions: Sequence[tuple[int, ...]], on_work: Callable[[], None]
) -> torch.Tensor:
    """Summed loss [R] of each completion, in nats, up to what all of them share at either end.

    What they share in front is computed once, and kept in a key-value cache.
    """
    tail = len(common_front([row[::-1] for row in completions]))
    rows = [(*prompt, *row[: len(row) - tail]) for row in completions]
    shared = len(common_front(rows)) - 1
    size = max(1, CACHE_TOKENS // max(map(len, rows)))
    losses = []
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        cache = model(input_ids=torch.tensor([rows[0][:shared]]), use_cache=True, logits_to_keep=1).past_key_values
        for start in range(0, len(rows), size):
            part = [torch.tensor(row[shared:]) for row in rows[start : start + size]]
            ids = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
            copies = copy.deepcopy(cache)
            copies.batch_repeat_interleave(len(part))
            logits = model(input_ids=ids[:, :-1], past_key_values=copies, use_cache=True).logits
            loss = torch.logsumexp(logits, -1) - logits.gather(2, ids[:, 1:, None])[:, :, 0]
            real = torch.arange(loss.shape[1]) < torch.tensor([len(row) - 1 for row in part])[:, None]
            losses.append(torch.where(real, loss, 0.0).double().sum(1))
            on_work()
    return torch.cat(losses)


def fisher(p_values: Sequence[float]) -> float:
    """One p-value for several independent ones: P(Gamma(n) >= -sum ln p)."""
    x = -math.fsum(map(math.log, p_values))
    return min(1.0, math.exp(-x) * math.fsum(x**k / math.factorial(k) for k in range(len(p_values))))


def _report(planted: int, alternatives: int, found: tuple[CanaryExposure, ...]) -> Exposures:
    ranks = [canary.rank for canary in found if canary.exposure is not None]
    if not ranks:
        words = "No canary was planted." if not planted else f"None of {planted} canaries could be measured."
        return Exposures(planted, alternatives, found, None, False, words)
    p = fisher([rank / alternatives for rank in ranks])
    mean = math.fsum(math.log2(alternatives / rank) for rank in ranks) / len(ranks)
    figures = (
        f"exposure of {len(ranks)} canaries {mean:.1f} bits on average, {math.log2(alternatives):.1f} at most, 1.4 by "
        f"chance (p = {p:.2g})"
    )
    if p < SIGNIFICANCE:
        words = f"Made-up secrets that were trained on can be told from others: {figures}."
        return Exposures(planted, alternatives, found, p, True, f"{words} Real ones could be, too.")
    return Exposures(planted, alternatives, found, p, False, f"Made-up secrets did not stick: {figures}.")
