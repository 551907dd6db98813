"""What an answer would cost, before anybody asks for it.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from openledger.money import Price
from services.openlora.prices import Prices
from services.openlora.question import Limits, Question


@dataclass(frozen=True)
class Estimate:
    """Fees in atomic units: `least` for an answer of one token, `most` for the longest, which is what is set aside."""

    tokens_in: int
    tokens_out_most: int
    least: int
    most: int
    price: Price


def estimate(question: Question, limits: Limits, prices: Prices) -> Estimate:
    """What the question would cost.  Raises `Fault` as asking it would, for what passes a limit."""
    limits.check(question)
    price, tokens_in = prices.of(question.model), len(question.prompt)
    least, most = (price.fee(tokens_in, tokens_out) for tokens_out in (1, question.max_tokens))
    return Estimate(tokens_in, question.max_tokens, least, most, price)
