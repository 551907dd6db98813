"""What an answer would cost."""

from __future__ import annotations

import pytest

from openledger.money import Price
from services.kit.errors import Fault
from services.openlora.estimate import Estimate, estimate
from services.openlora.prices import Prices
from services.openlora.question import Limits, Question

LIMITS = Limits(prompt=20, answer=50, context=60)
PRICES = Prices(Price(1000, 10_000, 7), {"adapters/tiny": Price(0, 1000, 0)})


def asked(model: str = "base", tokens: int = 30, prompt: int = 4) -> Question:
    return Question("", "accounts/0x" + "a" * 40, model, (5,) * prompt, {"max_tokens": tokens, "temperature": "0"})


def test_the_shortest_and_the_longest_answer_are_priced():
    assert estimate(asked(), LIMITS, PRICES) == Estimate(4, 30, 7 + 4 + 10, 7 + 4 + 300, Price(1000, 10_000, 7))


def test_by_the_price_of_the_model():
    found = estimate(asked("adapters/tiny/revisions/1", tokens=2), LIMITS, PRICES)
    assert (found.least, found.most) == (1, 2)


@pytest.mark.parametrize(("tokens", "prompt"), ((51, 1), (1, 21)))
def test_what_would_be_refused_has_no_price(tokens, prompt):
    with pytest.raises(Fault):
        estimate(asked(tokens=tokens, prompt=prompt), LIMITS, PRICES)
