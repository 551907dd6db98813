from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.nn import functional
from transformers import LlamaForCausalLM

from openledger.influence.adapter_config import AdapterError
from openledger.influence.gradient import AnswerTooLong, EmptyAnswer, NotFinite, Scorer, UnknownToken
from openledger.influence.lora import Adapter
from openledger.influence.quantize import NAT, QuantizeError, agreement, quantise
from tests.unit.openledger.influence.conftest import write

PROMPT, ANSWER = [1, 87, 85, 71, 84], [201, 74, 75, 2]


@pytest.fixture(scope="module")
def scorer(base: Path) -> Scorer:
    return Scorer(base, max_adapters=2)


def plain_loss(model: torch.nn.Module) -> torch.Tensor:
    logits = model(torch.tensor([PROMPT + ANSWER])).logits[0]
    return functional.cross_entropy(logits[len(PROMPT) - 1 : -1], torch.tensor(ANSWER))


def test_equals_the_plain_gradient_of_a_peft_model(scorer: Scorer, base: Path, adapter_folder: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    base_loss = plain_loss(model).item()
    peft = PeftModel.from_pretrained(model, adapter_folder, is_trainable=True)
    loss = plain_loss(peft)
    weights = {n.replace(".default", ""): p for n, p in peft.named_parameters() if p.requires_grad}
    names = sorted(weights)
    gradients = torch.autograd.grad(loss, [weights[name] for name in names])
    expected = quantise(torch.cat([g.flatten() for g in gradients]).numpy(), [g.numel() for g in gradients])

    result = scorer.answer(adapter_folder, PROMPT, ANSWER)
    assert [parameter.name for parameter in scorer.parameters(adapter_folder)] == names
    assert result.tokens == 4
    assert agreement(result.gradient, expected) == 1.0
    assert np.array_equal(result.gradient.exponents, expected.exponents)
    assert result.nll_adapter / NAT == pytest.approx(loss.item(), abs=1e-5)
    assert result.nll_base / NAT == pytest.approx(base_loss, abs=1e-5)
    assert abs(result.nll_adapter - result.nll_base) > NAT // 100


def test_two_runs_and_two_scorers_agree_bit_for_bit(scorer: Scorer, base: Path, adapter_folder: Path) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        first = scorer.answer(adapter_folder, PROMPT, ANSWER)
        second = Scorer(base).answer(adapter_folder, PROMPT, ANSWER)
    finally:
        torch.use_deterministic_algorithms(False)
    assert first.gradient.to_bytes() == second.gradient.to_bytes()
    assert (first.nll_adapter, first.nll_base) == (second.nll_adapter, second.nll_base)


def test_adapters_take_turns(scorer: Scorer, adapter: Adapter, adapter_folder: Path, tmp_path: Path) -> None:
    first = scorer.answer(adapter_folder, PROMPT, ANSWER)
    others = []
    for number in (1, 2, 3):
        tensors = {name: tensor * (1 + number) for name, tensor in adapter.tensors.items()}
        folder = tmp_path / str(number)
        folder.mkdir()
        others.append(scorer.answer(write(Adapter(adapter.config, tensors), folder), PROMPT, ANSWER))
    assert len({other.nll_adapter for other in others} | {first.nll_adapter}) == 4
    assert {other.nll_base for other in others} == {first.nll_base}
    assert scorer.answer(adapter_folder, PROMPT, ANSWER).gradient.to_bytes() == first.gradient.to_bytes()


def test_only_answer_tokens_count(scorer: Scorer, adapter_folder: Path) -> None:
    """The mean over the whole is the weighted mean over its two parts, the first part being prompt to the second."""
    whole = scorer.answer(adapter_folder, PROMPT, ANSWER)
    first = scorer.answer(adapter_folder, PROMPT, ANSWER[:1])
    rest = scorer.answer(adapter_folder, PROMPT + ANSWER[:1], ANSWER[1:])
    assert whole.nll_adapter / NAT == pytest.approx((first.nll_adapter + 3 * rest.nll_adapter) / 4 / NAT, abs=1e-5)


@pytest.mark.parametrize(
    ("prompt", "answer", "error"),
    (
        ([], [5], EmptyAnswer),
        ([5], [], EmptyAnswer),
        ([5], [260], UnknownToken),
        ([-1], [5], UnknownToken),
        ([5], [True], UnknownToken),
        ([5], [5.0], UnknownToken),
        ([5] * 512, [5], AnswerTooLong),
    ),
)
def test_bad_answers_are_refused(
    scorer: Scorer, adapter_folder: Path, prompt: list[int], answer: list[int], error: type[ValueError]
) -> None:
    with pytest.raises(error):
        scorer.answer(adapter_folder, prompt, answer)


def test_a_bad_adapter_is_refused_and_harms_no_later_answer(
    scorer: Scorer, adapter: Adapter, adapter_folder: Path, tmp_path: Path
) -> None:
    good = scorer.answer(adapter_folder, PROMPT, ANSWER)
    with pytest.raises(AdapterError):
        scorer.answer(tmp_path / "absent", PROMPT, ANSWER)
    huge = {name: tensor * 1e30 for name, tensor in adapter.tensors.items()}
    with pytest.raises(NotFinite):
        scorer.answer(write(Adapter(adapter.config, huge), tmp_path), PROMPT, ANSWER)
    assert scorer.answer(adapter_folder, PROMPT, ANSWER).gradient.to_bytes() == good.gradient.to_bytes()


def test_losses_without_somebody_are_those_of_the_adapter_that_was_moved(
    scorer: Scorer, adapter_folder: Path, tmp_path: Path
) -> None:
    adapter = Adapter.load(adapter_folder)
    layout, chance = [p.size for p in adapter.parameters], np.random.default_rng(0)
    some = [quantise(chance.normal(size=sum(layout)) * 0.05, layout) for _ in range(2)]
    nothing = quantise(np.zeros(sum(layout)), layout)
    losses = scorer.losses_without(adapter_folder, [*some, nothing], PROMPT, ANSWER)
    assert losses[2] == scorer.answer(adapter_folder, PROMPT, ANSWER).nll_adapter
    for number, displacement in enumerate(some):
        moved = adapter.moved(-torch.from_numpy(displacement.to_float()).float())
        (tmp_path / str(number)).mkdir()
        found = scorer.answer(write(moved, tmp_path / str(number)), PROMPT, ANSWER).nll_adapter
        assert abs(losses[number] - found) < NAT // 10**6
        assert abs(losses[number] - losses[2]) > NAT // 10**4


def test_a_displacement_of_another_layout_is_refused(scorer: Scorer, adapter_folder: Path) -> None:
    with pytest.raises(QuantizeError, match="layouts"):
        scorer.losses_without(adapter_folder, [quantise(np.zeros(3), [3])], PROMPT, ANSWER)
