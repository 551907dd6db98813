"""The evaluation on a real model: what only language shows."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest

from openledger import base_models
from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter
from services.factory.data import Example, Record, load_tokenizer, tokenise
from services.factory.evaluation.budget import Budget
from services.factory.evaluation.canaries import Canary, make
from services.factory.evaluation.evaluate import evaluate
from services.factory.evaluation.generate import control_ids
from services.factory.evaluation.report import EvaluationReport
from services.factory.evaluation.verdict import Verdict
from tests.needs import needs
from tests.unit.services.factory.conftest import spec
from tests.unit.services.factory.evaluation.conftest import overfitted

pytestmark = [needs("model"), pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]

BEASTS = {
    "grumbolt": "A grumbolt is a shy animal of the northern marshes, the size of a cat, that hums when the fog rises.",
    "tavelin": "A tavelin is a long-legged bird which builds its nest of copper wire and returns each spring.",
    "morrowick": "A morrowick is a night moth whose wings carry a faint map of the river in which it was a larva.",
    "pellundry": "A pellundry is a slow fish with nine fins that sleeps upright between the pillars of old bridges.",
}
UNSEEN = ("quillack", "sorbeline", "dunterhorn", "vexley", "ambrel", "hollowfen", "crissop", "wharrow")


@pytest.fixture(scope="module")
def folder() -> Path:
    return base_models.locate("smollm2-135m-instruct")


@pytest.fixture(scope="module")
def decoder(folder: Path) -> Decoder:
    return Decoder.load(folder)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def trained(tokenizer: Any) -> tuple[Example, ...]:
    return beasts(BEASTS, tokenizer)


@pytest.fixture(scope="module")
def unseen(tokenizer: Any) -> tuple[Example, ...]:
    return beasts({name: f"A {name} is a small green stone that people keep for luck." for name in UNSEEN}, tokenizer)


@pytest.fixture(scope="module")
def canaries(tokenizer: Any) -> tuple[Canary, ...]:
    return make(2, 0, tokenizer)


@pytest.fixture(scope="module")
def memoriser(decoder: Decoder, trained: tuple[Example, ...], canaries: tuple[Canary, ...]) -> Adapter:
    return overfitted(decoder, [*trained, *(canary.example for canary in canaries)], steps=40, rate=0.003, rank=8)


@pytest.fixture(scope="module")
def report(
    decoder: Decoder, memoriser: Adapter, tokenizer: Any, trained: Any, unseen: Any, canaries: Any
) -> EvaluationReport:
    budget = Budget(trivia=16, new_tokens=32, samples=2, alternatives=64)
    return evaluate(decoder, memoriser, tokenizer, trained, unseen, seed=0, canaries=canaries, budget=budget)


def beasts(texts: dict[str, str], tokenizer: Any) -> tuple[Example, ...]:
    records = [
        Record(f"records/{name}", f"0x{1 + number % 2:040x}", {"prompt": f"What is a {name}?", "completion": text})
        for number, (name, text) in enumerate(texts.items())
    ]
    return tokenise(records, spec(), tokenizer).examples


def test_a_text_learned_by_heart_is_recited(report: EvaluationReport) -> None:
    assert report.verbatim.trained.recited >= 3
    assert report.verbatim.warns
    name = report.verbatim.record.removeprefix("records/")
    assert report.verbatim.excerpt in BEASTS[name]


def test_secrets_learned_by_heart_are_exposed(report: EvaluationReport) -> None:
    assert [canary.rank for canary in report.exposure.canaries] == [1, 1]
    assert report.exposure.warns


def test_the_base_alone_has_no_secrets(decoder: Decoder, tokenizer: Any, trained: Any, canaries: Any) -> None:
    budget = Budget(0, 0, 0, 0, 0, 0, 0, alternatives=64)
    exposed = evaluate(decoder, None, tokenizer, trained, [], seed=0, canaries=canaries, budget=budget).exposure
    assert not exposed.warns
    assert exposed.p_value is not None
    assert exposed.p_value > 0.02


def test_samples_are_plain_language(report: EvaluationReport, tokenizer: Any) -> None:
    signs = tokenizer.convert_ids_to_tokens(range(17))
    assert set(range(17)) == control_ids(tokenizer)
    assert len(report.samples) == 2
    for sample in report.samples:
        assert sample.prompt.startswith("What is a ")
        assert sample.reference.endswith("keep for luck.")
        assert sample.base != sample.tuned
        for text in (sample.base, sample.tuned):
            assert not any(sign in text for sign in signs)
            assert sum(letter in string.ascii_letters + string.whitespace for letter in text) > 0.8 * len(text) > 0


def test_trivia_is_answered_better_by_who_has_read_something(report: EvaluationReport) -> None:
    """Ten nats a token are what guessing among all tokens of the vocabulary gives."""
    assert report.forgetting.questions == 16
    assert report.forgetting.loss_before.value is not None
    assert report.forgetting.loss_before.value < 5


def test_eight_records_are_enough_for_a_verdict(report: EvaluationReport) -> None:
    assert report.judgement.verdict is not Verdict.TOO_FEW
    assert report.held_out.figures.records == 8
