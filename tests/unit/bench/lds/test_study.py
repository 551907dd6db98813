"""The whole study in small: a tiny model, trained and trained again without people, and every estimator on it."""

from __future__ import annotations

from typing import Any

import pytest

from bench import lds
from bench.lds import report
from bench.lds.study import Setting
from tests import tiny_model
from tests.factory_world import offer
from tests.needs import needs

pytestmark = [needs("hpo"), pytest.mark.long, pytest.mark.timeout(600)]
SMALL = Setting(
    "small", base="tiny", contributors=8, records=4, queries=2, layers=2, epochs=4, subsets=12, fitted=4, seed=1
)
BASELINES = ("gradient-dot", "gradient-cosine", "datainf", "bm25", "embedding", "popularity")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        offer(folder / "bases.toml", tiny=tiny_model.make(folder / "tiny", layers=2, context=1024))
        patch.setenv("OPENLEDGER_BASE_MODELS", str(folder / "bases.toml"))
        measured = lds.measure(SMALL, samples=2, cache=folder / "retrained")
    return {row["method"]: row for row in measured}


def lds_of(rows: dict[str, dict[str, Any]], method: str) -> float:
    return float(rows[method]["lds"][0])


def alone(rows: dict[str, dict[str, Any]], method: str) -> float:
    return float(rows[method]["leave_one_out"][0])


@pytest.mark.parametrize("method", BASELINES)
def test_what_is_paid_agrees_with_retraining_far_better_than(method: str, rows: dict[str, dict[str, Any]]) -> None:
    assert lds_of(rows, report.PAID) > lds_of(rows, method) + 0.05
    assert alone(rows, report.PAID) > alone(rows, method) + 0.1


def test_it_is_as_good_as_retraining_without_each(rows: dict[str, dict[str, Any]]) -> None:
    assert lds_of(rows, report.PAID) > 0.95 * lds_of(rows, report.CEILING)
    assert alone(rows, report.PAID) > 0.93


def test_the_service_scores_as_the_library_does(rows: dict[str, dict[str, Any]]) -> None:
    assert lds_of(rows, report.SERVED) == pytest.approx(lds_of(rows, report.PAID), abs=0.01)
    assert alone(rows, report.SERVED) == pytest.approx(alone(rows, report.PAID), abs=0.01)


def test_halves_followed_in_the_one_run_tell_more_of_halves_than_retraining_without_each(
    rows: dict[str, dict[str, Any]],
) -> None:
    """What no additive score of single absences can: the contributors' effects depend on who else is there."""
    assert lds_of(rows, "shadow halves, 64") > lds_of(rows, report.CEILING)


def test_noise_agrees_with_nothing(rows: dict[str, dict[str, Any]]) -> None:
    assert abs(lds_of(rows, "shuffled")) < 0.25
    assert abs(alone(rows, "shuffled")) < 0.3


def test_every_figure_has_a_value_and_the_picture_is_one(rows: dict[str, dict[str, Any]]) -> None:
    every = list(rows.values())
    figures = report.figures(every)
    assert {"lds_inrun", "lds_inrun_of_ceiling", "loco_best"} <= figures.keys()
    assert report.picture(every, "small").startswith(b"\x89PNG")
