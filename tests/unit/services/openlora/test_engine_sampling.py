"""The next token: likeliest, or drawn from those that top_k and top_p leave, by the seed."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from services.openlora.engine import Sampling
from services.openlora.engine_sampling import next_token

LOGITS = torch.tensor([1.0, 3.0, 2.0, 0.0])


def draws(sampling: Sampling, count: int = 400) -> Counter[int]:
    generator = torch.Generator().manual_seed(0)
    return Counter(next_token(LOGITS, sampling, generator) for _ in range(count))


@pytest.mark.parametrize("temperature", (0.0, 1e-7))
def test_no_temperature_takes_the_likeliest(temperature):
    assert set(draws(Sampling(1, temperature))) == {1}


def test_tokens_come_as_often_as_their_odds():
    odds = LOGITS.softmax(-1).tolist()
    counts = draws(Sampling(1, 1.0), 4000)
    assert [counts[token] / 4000 for token in range(4)] == pytest.approx(odds, abs=0.03)


def test_a_high_temperature_levels_the_odds():
    assert draws(Sampling(1, 100.0))[3] > 70 > draws(Sampling(1, 1.0))[3]


def test_top_k_keeps_the_likeliest():
    assert set(draws(Sampling(1, 2.0, top_k=2))) == {1, 2}


def test_top_p_keeps_the_fewest_that_reach_it():
    # The odds are .64, .24, .09, .03.
    assert set(draws(Sampling(1, 1.0, top_p=0.6))) == {1}
    assert set(draws(Sampling(1, 1.0, top_p=0.65))) == {1, 2}
    assert set(draws(Sampling(1, 1.0, top_p=0.95))) == {0, 1, 2}


def test_top_p_next_to_nothing_keeps_one():
    assert set(draws(Sampling(1, 1.0, top_p=1e-6))) == {1}


def test_what_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        next_token(torch.tensor([0.0, float("nan")]), Sampling(1), torch.Generator())
