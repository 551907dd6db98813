from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached
from services.factory.data import Example, split
from services.factory.evaluation import trivia
from services.factory.evaluation.budget import Budget
from services.factory.evaluation.canaries import Canary, make
from services.factory.evaluation.chat import Reader
from services.factory.evaluation.evaluate import evaluate
from services.factory.evaluation.generate import control_ids, greedy
from services.factory.evaluation.report import EvaluationReport
from services.factory.evaluation.trivia import TriviaUnavailable
from services.factory.evaluation.verdict import Verdict
from tests.unit.services.factory.evaluation.conftest import fresh, overfitted

SMALL = Budget(trivia=10, probes=6, new_tokens=20, alternatives=32, resamples=300)


@pytest.fixture(scope="module")
def halves(examples: tuple[Example, ...]) -> tuple[list[Example], list[Example]]:
    return split(examples, 0.5, 0)


@pytest.fixture(scope="module")
def canaries(tokenizer: Any) -> tuple[Canary, ...]:
    return make(2, 0, tokenizer)


@pytest.fixture(scope="module")
def memoriser(decoder: Decoder, halves: Any, canaries: tuple[Canary, ...]) -> Adapter:
    """Knows its training records and the canaries by heart, and nothing else any more."""
    return overfitted(decoder, [*halves[0], *(c.example for c in canaries)], 60, 0.015, rank=32)


@pytest.fixture(scope="module")
def report(
    decoder: Decoder, memoriser: Adapter, tokenizer: Any, halves: Any, canaries: tuple[Canary, ...]
) -> EvaluationReport:
    trained, unseen = halves
    everything = [*trained, *(canary.example for canary in canaries)]
    return evaluate(decoder, memoriser, tokenizer, everything, unseen, seed=1, canaries=canaries, budget=SMALL)


def test_a_model_that_learned_by_heart_is_found_out(report: EvaluationReport) -> None:
    assert report.judgement.verdict is Verdict.WORSE
    assert report.warnings == (
        report.judgement.words,
        report.forgetting.words,
        report.verbatim.words,
        report.membership.words,
        report.exposure.words,
    )
    assert report.membership.auc.value is not None
    assert report.membership.auc.value > 0.9
    assert report.verbatim.trained.recited >= 4
    assert report.verbatim.people.recited == 0
    assert [canary.rank for canary in report.exposure.canaries] == [1, 1]


def test_counts_are_those_of_the_records(report: EvaluationReport, halves: Any) -> None:
    trained, unseen = halves
    assert report.held_out.figures.records == report.membership.held_out == len(unseen)
    assert report.membership.trained == len(trained), "a canary is no record"
    assert (report.forgetting.questions, report.verbatim.trained.texts) == (10, 6)
    assert len(report.held_out.contributors) == 4
    assert len({sample.record for sample in report.samples}) == 3
    assert {sample.record for sample in report.samples} <= {example.record for example in unseen}


def test_samples_show_the_base_beside_the_tuned_model(
    report: EvaluationReport, decoder: Decoder, tokenizer: Any, halves: Any
) -> None:
    asked = [next(e for e in halves[1] if e.record == sample.record) for sample in report.samples]
    base = greedy(decoder.model, [example.prompt for example in asked], SMALL.new_tokens, control_ids(tokenizer))
    reader = Reader(tokenizer)
    assert [sample.base for sample in report.samples] == [reader.text(answer) for answer in base]
    assert all(sample.base != sample.tuned for sample in report.samples)


def test_which_of_two_equal_texts_is_quoted_does_not_depend_on_their_order(
    decoder: Decoder, memoriser: Adapter, tokenizer: Any, halves: Any
) -> None:
    twice = [*halves[0], *(replace(example, record=f"copies/{example.record}") for example in halves[0])]
    there, back = (
        evaluate(decoder, memoriser, tokenizer, order, [], seed=0, budget=SMALL) for order in (twice, twice[::-1])
    )
    assert there.verbatim.record.startswith("copies/")
    assert there == back


def test_what_is_recited_is_quoted_with_its_record(report: EvaluationReport, halves: Any, tokenizer: Any) -> None:
    (source,) = (e for e in halves[0] if e.record == report.verbatim.record)
    assert report.verbatim.excerpt in tokenizer.decode(source.completion)
    assert len(report.verbatim.excerpt) >= 16


def test_the_same_again_gives_the_same(
    decoder: Decoder,
    memoriser: Adapter,
    tokenizer: Any,
    halves: Any,
    canaries: tuple[Canary, ...],
    report: EvaluationReport,
) -> None:
    trained, unseen = halves[0][::-1], halves[1][::-1]
    again = evaluate(decoder, memoriser, tokenizer, trained, unseen, seed=1, canaries=canaries, budget=SMALL)
    assert again.to_bytes() == report.to_bytes()


def test_the_base_alone_gains_nothing(decoder: Decoder, tokenizer: Any, halves: Any) -> None:
    report = evaluate(decoder, None, tokenizer, *halves, seed=0, budget=SMALL)
    assert report.judgement.verdict is Verdict.NO_CLEAR_GAIN
    assert report.warnings == ()
    assert all(sample.base == sample.tuned for sample in report.samples)
    assert report.exposure.words == "No canary was planted."
    assert report.method == ""


def test_it_says_what_kind_of_adapter_was_measured(
    decoder: Decoder, adapter: Adapter, tokenizer: Any, halves: Any
) -> None:
    dora = Adapter.initialise(replace(adapter.config, dora=True), decoder.model, torch.Generator().manual_seed(0))
    trained, unseen = halves
    kinds = [evaluate(decoder, a, tokenizer, trained[:2], unseen[:1], seed=0, budget=SMALL) for a in (adapter, dora)]
    assert [report.method for report in kinds] == ["LoRA", "DoRA"]


@pytest.mark.parametrize("count", (0, 1, 2))
def test_few_held_out_records_are_too_few(
    decoder: Decoder, adapter: Adapter, tokenizer: Any, halves: Any, count: int
) -> None:
    trained, unseen = halves
    report = evaluate(decoder, adapter, tokenizer, trained, unseen[:count], seed=0, budget=SMALL)
    assert report.judgement.verdict is Verdict.TOO_FEW
    assert report.held_out.figures.records == len(report.samples) == report.verbatim.unseen.texts == count
    assert (report.held_out.figures.loss_change.low is None) == (count < 2)
    assert report.membership.auc.value is None


def test_one_contributor(decoder: Decoder, adapter: Adapter, tokenizer: Any, halves: Any) -> None:
    trained, unseen = ([replace(e, contributor="0xa") for e in half] for half in halves)
    report = evaluate(decoder, adapter, tokenizer, trained, unseen, seed=0, budget=SMALL)
    (row,) = report.held_out.contributors
    assert row.figures == report.held_out.figures
    assert "of one contributor" in report.judgement.words


def test_nothing_at_all(decoder: Decoder, adapter: Adapter, tokenizer: Any) -> None:
    report = evaluate(decoder, adapter, tokenizer, [], [], seed=0, budget=SMALL)
    assert report.judgement.verdict is Verdict.TOO_FEW
    assert (report.samples, report.verbatim.record) == ((), "")


def test_what_cannot_be_measured_is_counted(decoder: Decoder, adapter: Adapter, tokenizer: Any, halves: Any) -> None:
    trained, unseen = halves
    odd = [replace(unseen[0], completion=()), replace(unseen[1], prompt=()), replace(unseen[2], prompt=(5,) * 600)]
    report = evaluate(decoder, adapter, tokenizer, [*trained, *odd], [*unseen[3:], *odd], seed=0, budget=SMALL)
    assert (report.held_out.left_out, report.held_out.figures.records) == (3, len(unseen) - 3)


def test_the_budget_bounds_everything(decoder: Decoder, adapter: Adapter, tokenizer: Any, halves: Any) -> None:
    trained, unseen = halves
    tight = Budget(100, 100, 0, 0, 0, 0, 0, 0, 0, 0)
    report = evaluate(
        decoder, adapter, tokenizer, trained, unseen, seed=0, canaries=make(1, 0, tokenizer), budget=tight
    )
    assert 1 <= report.held_out.figures.records <= 3
    assert report.held_out.left_out == len(unseen) - report.held_out.figures.records
    assert report.forgetting.questions == report.verbatim.trained.texts == len(report.samples) == 0
    assert report.exposure.words == "None of 1 canaries could be measured."
    assert report.warnings == ()


def test_it_ends_when_it_is_told_to_and_leaves_the_base_as_it_was(
    decoder: Decoder, adapter: Adapter, tokenizer: Any, halves: Any, canaries: tuple[Canary, ...]
) -> None:
    weights = {name: tensor.clone() for name, tensor in decoder.model.state_dict().items()}
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    arguments = (decoder, adapter, tokenizer, *halves)
    evaluate(*arguments, seed=0, canaries=canaries, budget=SMALL, on_work=count)
    for last in range(1, calls + 1, 7):
        left = last

        def stop() -> None:
            nonlocal left
            left -= 1
            if not left:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate(*arguments, seed=0, canaries=canaries, budget=SMALL, on_work=stop)
        with attached(decoder.model, adapter):
            pass
    assert decoder.model.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in decoder.model.state_dict().items())


def test_a_held_out_prompt_that_training_has_is_not_unseen(
    decoder: Decoder, memoriser: Adapter, tokenizer: Any, halves: Any
) -> None:
    trained = halves[0]
    copies = [replace(example, record=f"copies/{example.record}", completion=(9, 2)) for example in trained]
    report = evaluate(decoder, memoriser, tokenizer, trained, copies, seed=0, budget=SMALL)
    assert report.verbatim.unseen.texts == 0
    assert report.verbatim.warns


def test_without_trivia_everything_else_is_measured(
    decoder: Decoder, adapter: Adapter, tokenizer: Any, halves: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise TriviaUnavailable("the package is not installed")

    monkeypatch.setattr(trivia, "notice", missing)
    report = evaluate(decoder, adapter, tokenizer, *halves, seed=0, budget=SMALL)
    assert report.forgetting.words == "Forgetting was not measured: the package is not installed."
    assert report.held_out.figures.records == len(halves[1])


def test_a_damaged_model_is_worse_and_every_number_is_one(decoder: Decoder, tokenizer: Any, halves: Any) -> None:
    broken = fresh(decoder)
    for tensor in broken.tensors.values():
        tensor.fill_(1e30)
    report = evaluate(decoder, broken, tokenizer, *halves, seed=0, canaries=make(1, 0, tokenizer), budget=SMALL)
    assert report.judgement.verdict is Verdict.WORSE
    assert report.held_out.not_finite == len(halves[1])
    assert report.exposure.canaries[0].exposure is None
    assert all(sample.tuned == "" for sample in report.samples)
    assert EvaluationReport.from_bytes(report.to_bytes()) == report
