"""What may be tried for more money than one's texts are worth, in small: a tiny model, trained once for each attack.

Figures of a real model are in docs/attacks.md. Without noise taken off, where a contributor's pay is not drowned in it,
unless a test says otherwise; what is paid by the product's rule is less.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest

from bench.attacks import attacks, measure, planted, pooled, queries, report, texts, world
from bench.attacks.attacks import Attack
from bench.attacks.report import Before
from bench.attacks.world import Laboratory, OutOfTime, Setting, World
from openledger.split import Evidence, Rule
from tests import tiny_model
from tests.factory_world import offer
from tests.needs import needs

pytestmark = [needs("hpo"), pytest.mark.long, pytest.mark.timeout(600)]
SMALL = Setting("small", base="tiny", contributors=6, records=3, attackers=8, queries=4, layers=2)
PRODUCT = Rule().noise_z_milli / 1000


class Small:
    """The honest world in small, and attacks on it."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.honest: World = world.honest(SMALL)
        own = queries.farmed(self.honest)
        found = laboratory.evidence(self.honest, queries=[*own, *queries.pasted(self.honest)])
        asked = len(self.honest.queries)
        self.before = Before(found[:asked], self.honest.people())
        self.own: list[Evidence] = found[asked : asked + len(own)]
        self.pasted: list[Evidence] = found[asked + len(own) :]
        self.attacks: dict[str, Attack] = {
            each.name: each for each in attacks.every(self.honest, self.before.best(), SMALL.seed)
        }

    @cached_property
    def questions(self) -> list[dict[str, Any]]:
        """What asking brings."""
        return report.questions(self.before, self.own)

    def row(self, name: str, *, rule: str = "credited", z: float = 0.0) -> dict[str, Any]:
        """What an attack brings."""
        tried = self.attacks[name]
        changed = tried.world.credited() if rule == "credited" else tried.world
        rows = report.attack(tried, rule, self.before, self.laboratory.evidence(changed))
        return next(row for row in rows if row["z"] == z)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    folder = tmp_path_factory.mktemp("attacks")
    with pytest.MonkeyPatch.context() as patch:
        offer(folder / "bases.toml", tiny=tiny_model.make(folder / "tiny", layers=2, context=1024))
        patch.setenv("OPENLEDGER_BASE_MODELS", str(folder / "bases.toml"))
        yield Small(Laboratory(SMALL, folder / "measured"))


@pytest.mark.parametrize("name", ("split in 2", "split in 16"))
def test_an_account_that_is_split_has_no_more(small: Small, name: str) -> None:
    assert small.row(name)["gain"] <= 1.05
    assert small.row(name, z=PRODUCT)["gain"] <= 1.05


def test_anothers_texts_bring_money_without_the_rule_about_copies_and_none_with_it(small: Small) -> None:
    name = "copy another's, 30% edited"
    assert small.row(name, rule="none")["gain"] > 1.2
    assert small.row(name)["gain"] <= 1.05


def test_anothers_texts_with_clauses_and_words_exchanged_bring_nothing(small: Small) -> None:
    assert small.row("paraphrase another's")["gain"] <= 1.05


def test_ones_own_texts_once_more_bring_nothing(small: Small) -> None:
    assert small.row("copy own, 10% edited")["gain"] <= 1.05


def test_words_in_no_order_are_paid_less_than_an_equal_part(small: Small) -> None:
    """They are the corpus' own words, and teach a model of random weights which there are. A real one knows them."""
    assert small.row("noise: random words", z=PRODUCT)["gain"] <= 0.75


@pytest.mark.parametrize("name", ("noise: random signs", "outlier: long and rare", "boilerplate, many records"))
def test_is_paid_less_than_half_an_equal_part_with_no_noise_taken_off(small: Small, name: str) -> None:
    assert small.row(name)["gain"] <= 0.5


def test_texts_under_others_terms_bring_no_more_than_under_their_own(small: Small) -> None:
    assert small.row("outlier: own texts under others' terms")["gain"] <= 1.1


@pytest.mark.parametrize("z", (0.0, PRODUCT))
def test_two_accounts_made_one_take_nothing_from_others(small: Small, z: float) -> None:
    """What one account sets off against itself was nobody's."""
    honest = next(r for r in report.honest(small.before) if r["z"] == z)
    pair = [str(who) for who in (attacks.ATTACKER, small.before.best())]
    others = sum(paid for who, paid in honest["people"].items() if who not in pair)
    row = small.row("pair: one account", z=z)
    assert row["others"] >= 0.9 * others
    assert row["unattributed"] <= honest["unattributed"]


def test_pasting_ones_texts_into_prompts_brings_less_than_the_answers_cost(small: Small) -> None:
    rows = report.pasting(small.before, small.pasted)
    assert all(row["after"] < 0.5 and row["gain"] is not None for row in rows)
    assert rows[0]["gain"] <= 1.25


def test_asking_for_ones_own_texts_loses_money_whatever_the_volume(small: Small) -> None:
    """Also for a developer who is the only staker, and by the best question."""
    farming = [row for row in small.questions if row["attack"] == "query farming"]
    assert len(farming) == 9 * len(report.Z_MILLI)
    assert all(0 < row["returned"] < row["returned_to_all"] < 1 for row in farming)


def test_fees_of_a_few_units_bring_less_than_they_cost(small: Small) -> None:
    """A unit cannot be divided, so that rounding moves it; on average over fees it moves nothing."""
    dust = [row for row in small.questions if row["attack"] == "dust"]
    assert all(row["returned"] < 1 and row["mean"] <= 1.05 * row["usual"] for row in dust)


def test_the_score_finds_whose_an_invented_fact_is(small: Small) -> None:
    found = planted.measure(small.laboratory, SMALL.seed, planted.FACTS[:8])
    assert found["quoted"] == 1, "a fact that is told word for word is found by its words too"
    assert found["top1"] >= 0.5


def test_words_chosen_by_gradient_are_those_that_point_where_honest_texts_do(small: Small) -> None:
    """Of noise and of honest texts, an adversary that wants to look like the latter would take them."""
    own = small.honest.of(attacks.ATTACKER)
    vocabulary = texts.words_of([given.text for given in small.honest.records])
    tried = [texts.noise(vocabulary, 20, n) for n in range(len(own))]
    chosen = small.laboratory.steepest(small.honest, [*tried, *own], own, len(own))
    assert len(set(chosen)) == len(own)
    assert sum(text in own for text in chosen) > len(own) / 2
    assert chosen[:2] == small.laboratory.steepest(small.honest, [*tried, *own], own, 2)
    (adversary,) = (
        each
        for each in attacks.every(small.honest, small.before.best(), 0, lambda given, _, count: list(given[:count]))
        if each.name.startswith("adversarial")
    )
    assert (adversary.before, adversary.after) == ((), (attacks.NEW,))


def test_a_run_without_time_shows_what_was_measured_before_and_says_that_it_is_not_all(small: Small) -> None:
    """In the order of a whole run, so that the next one goes on where this one stopped."""
    folder = small.laboratory._cache
    late = Laboratory(SMALL, folder, until=time.monotonic() - 1)
    steps: list[Any] = []
    with pytest.raises(OutOfTime):
        steps.extend(measure(late))
    assert late.seconds == []
    assert [rows[0]["attack"] for rows, _ in steps[:3]] == ["none", "prompt pasting", "query farming"]
    trials = [trial for _, trial in steps if trial is not None]
    gains = pooled.rows(trials)
    assert {row["trainings"] for row in gains} == {1}
    assert report.figures(gains, [row for rows, _ in steps for row in rows])["pasting_gain"] >= 0
