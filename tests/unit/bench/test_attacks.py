"""Gains over several worlds, and a laboratory that stops in time and goes on: nothing is trained here."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from bench.attacks import pooled, report
from bench.attacks.pooled import CHOSEN, DRAWS, Trial
from bench.attacks.world import Given, Laboratory, OutOfTime, Setting, World, address
from bench.lds.domains import Text
from openledger.split import NAT, Evidence
from tests import tiny_model
from tests.factory_world import offer

ANSWERS = 12


def evidence(*shares: float, error: float = 0.0) -> Evidence:
    """An answer that only the data explains, by these scores."""
    scores = {address(who): round(share * NAT) for who, share in enumerate(shares)}
    return Evidence(40 * NAT, 0, scores, (), {who: round(error * NAT) for who in scores})


def trial(before: list[Evidence], after: list[Evidence], **more: object) -> Trial:
    return Trial(**{"attack": "x", "rule": "credited", "seed": 0, "accounts": (0,), "theirs": (0,)} | more,
                 before=before, after=after)  # fmt: skip


def the_row(trials: list[Trial], z: float = 0.0) -> dict[str, object]:
    (found,) = (row for row in pooled.rows(trials) if row["z"] == z)
    return found


HONEST = [evidence(1 + n % 3, 2, 3) for n in range(ANSWERS)]


def test_nothing_gained_is_a_gain_of_one_without_doubt():
    row = the_row([trial(HONEST, HONEST)])
    assert (row["gain"], row["low"], row["high"]) == (1, 1, 1)
    assert (row["trainings"], row["answers"], row["against"]) == (1, ANSWERS, "own")


def test_the_doubled_score_of_one_of_two_equals_gains_a_third():
    row = the_row([trial([evidence(1, 1)] * ANSWERS, [evidence(2, 1)] * ANSWERS)])
    assert row["gain"] == row["low"] == row["high"] == 1.333


def test_an_interval_lies_around_its_gain_and_is_the_same_each_time():
    after = [evidence(3 + n % 2, 2, 3) for n in range(ANSWERS)]
    row = the_row([trial(HONEST, after)])
    assert row["low"] < row["gain"] < row["high"]
    assert row == the_row([trial(HONEST, after)])


def test_worlds_are_pooled_by_money_and_not_by_ratios():
    """Three of four parts where there were two, and a thousandth where there was a tenth."""
    rich = trial([evidence(1, 1)] * ANSWERS, [evidence(3, 1)] * ANSWERS)
    poor = trial([evidence(1, 9)] * ANSWERS, [evidence(1, 999)] * ANSWERS, seed=1)
    row = the_row([rich, poor])
    assert row["gain"] == round((0.75 + 0.001) / (0.5 + 0.1), 3)
    assert row["low"] == 0.01, "both draws are the poor world"
    assert row["high"] == 1.5, "both are the rich one"
    assert row["trainings"] == 2
    assert DRAWS * 0.25 > 10, "either happens in a quarter of the draws"


def test_somebody_new_is_compared_with_an_equal_part():
    row = the_row([trial(HONEST, [evidence(1, 1, 2, 0)] * ANSWERS, accounts=(), theirs=(2,))])
    assert (row["gain"], row["against"]) == (2, "uniform")


def test_who_had_nothing_and_has_something_gains_beyond_all_numbers():
    row = the_row([trial([evidence(0, 1)] * ANSWERS, [evidence(1, 1)] * ANSWERS)])
    assert (row["gain"], row["low"], row["high"]) == (None, None, None)
    assert the_row([trial([evidence(0, 1)] * ANSWERS, [evidence(0, 1)] * ANSWERS)])["gain"] == 0


def test_doubt_is_taken_off_by_the_products_rule():
    unsure = [replace(each, errors=dict.fromkeys(each.scores, NAT)) for each in HONEST]
    row = the_row([trial(HONEST, unsure)], CHOSEN / 1000)
    assert row["gain"] < 1 == the_row([trial(HONEST, unsure)])["gain"]


def test_figures_are_the_worst_of_a_kind_with_its_interval():
    after = [evidence(3 + n % 2, 2, 3) for n in range(ANSWERS)]
    gains = pooled.rows([trial(HONEST, HONEST, attack="split in 2"), trial(HONEST, after, attack="split in 4")])
    figures = report.figures(gains, [{"attack": "planted facts", "top1": each, "paraphrase_top1": 1, "quoted": 1}
                                     for each in (0.5, 1.0)])  # fmt: skip
    worst = next(row for row in gains if row["attack"] == "split in 4" and row["z"] == CHOSEN / 1000)
    assert figures["split_gain"] == worst["gain"] > 1
    assert (figures["split_gain_low"], figures["split_gain_high"]) == (worst["low"], worst["high"])
    assert figures["planted_top1"] == 0.75
    assert "copy_gain" not in figures
    assert report.picture(gains).startswith(b"\x89PNG")


class Counting(Laboratory):
    """Its trainings cost nothing."""

    trained = 0

    def _measure(self, *_: object) -> list[Evidence]:
        self.trained += 1
        return HONEST


@pytest.fixture
def setting(tmp_path, monkeypatch) -> Setting:
    offer(tmp_path / "bases.toml", tiny=tiny_model.make(tmp_path / "tiny", layers=2))
    monkeypatch.setenv("OPENLEDGER_BASE_MODELS", str(tmp_path / "bases.toml"))
    return Setting("small", base="tiny", layers=2)


def scores(found: list[Evidence]) -> list[dict[str, int]]:
    return [dict(each.scores) for each in found]


def a_world(name: str) -> World:
    return World("What is {term}?", (Given(0, Text(name, "a text")),), (("What is it?", "this"),))


def test_what_was_measured_is_found_and_when_time_is_up_nothing_is_begun(setting, tmp_path):
    first = Counting(setting, tmp_path / "kept")
    assert scores(first.evidence(a_world("one"))) == scores(first.evidence(a_world("one"))) == scores(HONEST)
    assert (first.trained, len(first.seconds)) == (1, 1)
    late = Counting(setting, tmp_path / "kept", until=time.monotonic() - 1)
    assert scores(late.evidence(a_world("one"))) == scores(HONEST)
    with pytest.raises(OutOfTime):
        late.evidence(a_world("two"))
    assert (late.trained, late.seconds) == (0, [])
    again = Counting(setting, tmp_path / "kept", until=time.monotonic() + 60)
    again.evidence(a_world("two"))
    assert again.trained == 1


def test_nothing_is_begun_that_would_end_too_late(setting, tmp_path):
    laboratory = Counting(setting, tmp_path / "kept", until=time.monotonic() + 60)
    laboratory.evidence(a_world("one"))
    laboratory.seconds[-1] = 61.0
    with pytest.raises(OutOfTime):
        laboratory.evidence(a_world("two"))


def test_another_seed_is_another_training(setting, tmp_path):
    laboratory = Counting(setting, tmp_path / "kept")
    laboratory.evidence(a_world("one"))
    laboratory.evidence(a_world("one"), seed=100)
    assert laboratory.trained == 2
