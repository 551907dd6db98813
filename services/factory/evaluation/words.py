"""Numbers as people read them, the same in every finding."""

from __future__ import annotations

import math


def share(value: float) -> str:
    """A share of one, in percent."""
    return f"{100 * value:.0f} %"


def perplexity_change(nats: float) -> str:
    """A change of loss, as one of perplexity."""
    return f"{100 * math.expm1(nats):+.0f} %" if nats < 7 else "over +100,000 %"


def perplexity(loss: float) -> str:
    """exp(loss); a damaged model's loss makes it too large for a double."""
    return f"{math.exp(loss):.4g}" if loss < 700 else "beyond all bounds"
