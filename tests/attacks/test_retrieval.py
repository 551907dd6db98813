"""Records before a question to the real model: who answers it is paid, and those who only stand there are not."""

from __future__ import annotations

import pytest

from bench.retrieval import ATTACKER, AUTHOR, Bench, Case, Said, answered, paid, row
from openledger import base_models, split
from openledger.influence.gradient import Scorer
from openledger.split import NAT
from services.openlora.engine_text import TextCodec
from tests.needs import needs

pytestmark = [needs("model"), pytest.mark.long, pytest.mark.timeout(600)]

FACT = (
    "Zorvex syndrome is a disorder of the inner ear in which the patient hears a faint whistling at night, first "
    "described by Ilse Marand in 1962."
)
"""Invented: no model knows it."""
OTHERS = (
    "Brachydactyly is a shortening of the fingers or toes relative to the length of other bones of the body.",
    "The ferry to Port Lindel leaves every morning at eight and returns in the late afternoon, except on Sundays.",
    "A hypermobile joint moves beyond the usual range; it may be found in one joint alone or in many.",
)
MORE = (
    "Bread rises in an hour where it is warm, and overnight where it is cold.",
    "The library lends up to ten books for three weeks to everybody who lives in the town.",
)


class Asked(Case):
    """The record that answers comes first: this small model repeats what stands last, whatever is asked."""

    question = "What is Zorvex syndrome, and who described it first?"

    @property
    def records(self) -> tuple[Said, ...]:
        return (self.right, *self.others)


@pytest.fixture(scope="module")
def bench() -> Bench:
    base = base_models.locate("smollm2-135m-instruct")
    others = tuple((f"0x{number:040x}", text) for number, text in enumerate(OTHERS, start=1))
    [case] = answered(base, [Asked("Zorvex syndrome", (AUTHOR, FACT), others, MORE)], 32)
    return Bench(Scorer(base), TextCodec(base), case)


def test_the_record_that_answers_is_paid_and_irrelevant_ones_next_to_nothing(bench):
    assert "Ilse Marand in 1962" in bench.codec.answer(bench.case.answer)
    measured = bench.evidence(bench.case.records)
    scores, shares = measured.retrieval.scores, paid(measured)
    assert scores[AUTHOR] > NAT // 2
    for who, _ in bench.case.others:
        assert abs(scores[who]) < scores[AUTHOR] // 10
        assert shares.get(who, 0) < 0.05
    assert shares[AUTHOR] > 0.85
    assert split.divide(1_000, measured)[split.RETRIEVAL] > 300, "the fact was in no training"


def test_copying_paraphrasing_and_flooding_next_to_the_record_earn_next_to_nothing(bench):
    honest, found = paid(bench.evidence(bench.case.records)), row(bench)
    assert found["copy"]["attacker"] == 0
    assert found["copy"]["author"] > 0.8 * honest[AUTHOR]
    assert found["paraphrase"]["attacker"] < 0.2
    assert found["flood"]["attacker"] < 0.1


def test_without_the_record_that_helps_the_records_have_little_of_the_pool(bench):
    with_it = bench.evidence(bench.case.records)
    irrelevant = bench.evidence([*bench.case.others, (ATTACKER, MORE[0])])
    parts = [split.divide(1_000, measured).get(split.RETRIEVAL, 0) for measured in (with_it, irrelevant)]
    assert parts[1] < parts[0] / 4
