from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter
from services.factory.evaluation import exposure
from services.factory.evaluation.budget import Budget
from services.factory.evaluation.canaries import DIGITS, NOBODY, completion_ids, draw, make
from services.factory.evaluation.exposure import CanaryExposure, _exposure, _losses, _report, expose, fisher
from tests.unit.services.factory.evaluation.conftest import overfitted


@pytest.fixture(scope="module")
def knowing(decoder: Decoder, tokenizer: Any) -> Adapter:
    """An adapter that learned three canaries by heart."""
    return overfitted(decoder, [canary.example for canary in make(3, 5, tokenizer)], steps=60, rate=0.015, rank=32)


def test_canaries_are_the_same_for_the_same_seed(tokenizer: Any) -> None:
    three, five = make(3, 5, tokenizer), make(5, 5, tokenizer)
    assert five[:3] == three
    assert make(3, 6, tokenizer) != three
    assert len({canary.secret for canary in five}) == 5
    assert make(0, 5, tokenizer) == ()


def test_a_canary_is_an_example_of_nobody(tokenizer: Any) -> None:
    canary = make(2, 5, tokenizer)[1]
    assert (canary.number, len(canary.secret), canary.secret.isdigit()) == (2, DIGITS, True)
    assert (canary.example.contributor, canary.example.record) == (NOBODY, "canaries/2")
    text = tokenizer.decode([*canary.example.prompt, *canary.example.completion])
    assert "What is the code of locker 2?" in text
    assert text.endswith(f"The code of locker 2 is {canary.secret}.<|im_end|>")


def test_a_secret_learned_by_heart_is_exposed_in_full(decoder: Decoder, knowing: Adapter, tokenizer: Any) -> None:
    found = expose(decoder, knowing, tokenizer, make(3, 5, tokenizer), 2, 64, seed=0)
    assert found.canaries == (CanaryExposure(1, 1, 6.0), CanaryExposure(2, 1, 6.0))
    assert (found.planted, found.warns) == (3, True)
    assert "exposure of 2 canaries 6.0 bits on average, 6.0 at most" in found.words


def test_a_secret_that_was_not_learned_is_not(decoder: Decoder, knowing: Adapter, tokenizer: Any) -> None:
    strangers = make(4, 77, tokenizer)
    for adapter in (None, knowing):
        found = expose(decoder, adapter, tokenizer, strangers, 4, 64, seed=0)
        assert found.p_value is not None
        assert found.p_value > exposure.SIGNIFICANCE
        assert found.words.startswith("Made-up secrets did not stick")


def test_losses_are_those_of_the_whole_text(decoder: Decoder, tokenizer: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(exposure, "CACHE_TOKENS", 200)
    canary = make(1, 5, tokenizer)[0]
    rng = random.Random(0)
    secrets = [draw(rng) for _ in range(9)]
    rows = [completion_ids(1, secret, tokenizer) for secret in secrets]
    plain = []
    for row in rows:
        ids = torch.tensor([[*canary.example.prompt, *row]])
        with torch.no_grad():
            logp = torch.log_softmax(decoder.model(input_ids=ids).logits[0, :-1], -1)
        token_losses = -logp.gather(1, ids[0, 1:, None])[:, 0]
        plain.append(float(token_losses[-2 - DIGITS : -2].double().sum()))
    np.testing.assert_allclose(_losses(decoder.model, canary.example.prompt, rows, lambda: None), plain, rtol=1e-4)


def test_alternatives_of_unequal_length_are_padded(decoder: Decoder) -> None:
    prompt, rows = (5, 6), [(7, 8, 9, 4), (7, 9, 4), (7, 3, 3, 3, 3, 4)]
    found = _losses(decoder.model, prompt, rows, lambda: None)
    alone = [_losses(decoder.model, prompt, [row, (7, 250, 4)], lambda: None)[0] for row in rows]
    np.testing.assert_allclose(found, alone, rtol=1e-4)


def test_exposure_is_log_r_less_log_rank() -> None:
    losses = torch.tensor([2.0, 1.0, 3.0, 2.0, 0.5, 9.0, 9.0, 9.0])
    assert _exposure(4, losses) == CanaryExposure(4, 3, 3 - math.log2(3))
    assert _exposure(4, torch.tensor([2.0, math.nan])) == CanaryExposure(4, 0, None)


def test_fishers_method() -> None:
    assert fisher([0.03]) == pytest.approx(0.03)
    assert fisher([1.0, 1.0]) == 1.0
    assert fisher([0.01, 0.2]) == pytest.approx(0.002 * (1 - math.log(0.002)))
    rng = np.random.default_rng(0)
    found = [fisher(list(row)) for row in rng.uniform(size=(4000, 5))]
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.02)


def test_nothing_planted_or_nothing_measured() -> None:
    assert _report(0, 64, ()).words == "No canary was planted."
    assert _report(2, 64, (CanaryExposure(1, 0, None),)).words == "None of 2 canaries could be measured."


def test_no_alternative_means_no_measurement(decoder: Decoder, tokenizer: Any) -> None:
    found = expose(decoder, None, tokenizer, make(1, 5, tokenizer), 1, alternatives=1, seed=0)
    assert (found.canaries, found.p_value, found.warns) == ((), None, False)


def test_one_canary_first_of_the_budgets_alternatives_warns() -> None:
    found = Budget().alternatives
    assert _report(1, found, (CanaryExposure(1, 1, math.log2(found)),)).warns
    assert not _report(1, found, (CanaryExposure(1, 2, math.log2(found) - 1),)).warns
