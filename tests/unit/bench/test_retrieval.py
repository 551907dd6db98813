"""The bench of records before questions: its cases, a whole row of a tiny model, and what is made of rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import retrieval
from bench.retrieval import ATTACKER, AUTHOR, SECOND, Bench, Case, Setting, answered, attacks, cases, figures, row
from openledger.influence.gradient import Scorer
from services.openlora.engine_text import TextCodec
from tests import tiny_model
from tests.needs import needs

CASE = Case(
    "sage",
    (AUTHOR, "sage: a herb that is gathered in June, before it flowers, and is then dried in the shade"),
    (("0x" + "1" * 40, "a ferry leaves at eight"), ("0x" + "2" * 40, "bread rises"), ("0x" + "3" * 40, "ten books")),
    ("wool is washed in cold water", "paint dries overnight"),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("tiny"), layers=2, context=2048)


def test_a_row_is_of_one_answer_with_and_without_attacks(base: Path) -> None:
    [case] = answered(base, [CASE], 6)
    assert 1 <= len(case.answer) <= 6
    found = row(Bench(Scorer(base), TextCodec(base), case))
    assert 0 <= found["right"] + sum(found["irrelevant"]) <= 1
    assert found["nobody"] == pytest.approx(1 - found["right"] - sum(found["irrelevant"]))
    assert found["copy"]["attacker"] == 0, "it is the author's"
    assert set(found["score_nats"]) == {"right", "0", "1", "2"}


def test_attacks_change_what_they_say() -> None:
    tried = dict(attacks(CASE))
    assert [who for who, _ in tried["copy"]].count(ATTACKER) == 1
    halves = [text for who, text in tried["split"] if who in {ATTACKER, SECOND}]
    assert " ".join(halves) == CASE.right[1]
    assert AUTHOR not in {who for who, _ in tried["split"]}
    assert len(tried["flood"]) == len(CASE.records) + len(CASE.more)


def test_figures_are_means_weighed_by_the_records_money() -> None:
    attacks = {name: {"attacker": 0.1, "author": 0.5} for name in ("copy", "paraphrase", "split", "flood")}
    rich = {"first": True, "of_pool": 0.6, "right": 1.0, "irrelevant": [0.0], "nobody": 0.0} | attacks
    poor = {"first": False, "of_pool": 0.2, "right": 0.2, "irrelevant": [0.4], "nobody": 0.4} | attacks
    found = figures([rich, poor])
    assert (found["questions"], found["top1"], found["records_of_pool"]) == (2, 0.5, 0.4)
    assert (found["right_share"], found["irrelevant_share"], found["nobody_share"]) == (0.8, 0.1, 0.1)
    assert found["copy_share"] == 0.1
    assert found["split_gain"] == pytest.approx(0.1 / 0.8, abs=1e-3)


@needs("hpo")
def test_cases_are_of_terms_among_others() -> None:
    found = cases(Setting(questions=6))
    assert len({case.term for case in found}) == 6
    for case in found:
        texts = [case.right[1], *(text for _, text in case.others), *case.more]
        assert len(set(texts)) == len(texts) == 1 + retrieval.IRRELEVANT + retrieval.FLOOD
        assert case.right[1].startswith(case.term)
