from __future__ import annotations

import numpy as np
import pytest
import torch

from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached
from services.factory.data import Example
from services.factory.evaluation.likelihood import Likelihood, measurable, measure
from tests.unit.services.factory.evaluation.conftest import fresh, overfitted


def plain(decoder: Decoder, example: Example) -> tuple[float, float]:
    """Loss and accuracy by transformers' own forward pass, one example at a time."""
    ids = torch.tensor([[*example.prompt, *example.completion]])
    with torch.no_grad():
        logits = decoder.model(input_ids=ids).logits[0, len(example.prompt) - 1 : -1]
    targets = torch.tensor(example.completion)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    return float(loss), float((logits.argmax(-1) == targets).double().mean())


def test_losses_and_accuracies_are_those_of_transformers(decoder: Decoder, examples: tuple[Example, ...]) -> None:
    adapter = overfitted(decoder, examples[:8], steps=30, rate=0.015, rank=32)
    found = measure(decoder, adapter, examples)
    before = np.array([plain(decoder, example) for example in examples]).T
    with attached(decoder.model, adapter):
        after = np.array([plain(decoder, example) for example in examples]).T
    np.testing.assert_allclose([found.loss_before, found.loss_after], [before[0], after[0]], rtol=1e-5)
    np.testing.assert_allclose([found.accuracy_before, found.accuracy_after], [before[1], after[1]])
    assert np.abs(found.loss_change).min() > 1e-4
    assert 0 < found.accuracy_after.mean() < 1


def test_an_adapter_that_changes_nothing_changes_nothing(decoder: Decoder, examples: tuple[Example, ...]) -> None:
    for nothing in (None, fresh(decoder)):
        found = measure(decoder, nothing, examples[:3])
        np.testing.assert_array_equal(found.loss_before, found.loss_after)
        np.testing.assert_array_equal(found.accuracy_before, found.accuracy_after)


def test_only_what_has_a_prompt_a_completion_and_room_is_measurable(decoder: Decoder) -> None:
    def example(prompt: int, completion: int) -> Example:
        return Example("r", "0x", (1,) * prompt, (2,) * completion)

    fits = [example(1, 1), example(decoder.context - 1, 1)]
    assert measurable(decoder, [*fits, example(0, 1), example(1, 0), example(decoder.context, 1)]) == fits


def test_nothing_to_measure(decoder: Decoder, adapter: Adapter) -> None:
    assert len(measure(decoder, adapter, []).loss_after) == 0


def test_each_pass_is_told_of_and_may_end_it(decoder: Decoder, adapter: Adapter, examples: tuple[Example, ...]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(decoder, adapter, examples, stop)
    with attached(decoder.model, adapter):
        pass  # the base was left free for the next


def test_what_is_not_finite_is_said() -> None:
    column = np.array([1.0, np.nan, np.inf])
    found = Likelihood(np.ones(3), column, np.ones(3), np.ones(3))
    assert found.finite.tolist() == [True, False, False]
    assert found.take(found.finite).loss_after.tolist() == [1.0]
