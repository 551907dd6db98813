from __future__ import annotations

import numpy as np
import pytest

from bench import retraining
from bench.lds.study import Setting
from bench.retraining import ASIDE, PUBLISHER, Machine, compared, figures, least, told, worth
from tests import tiny_model

DRAW = np.random.default_rng(0)
PUBLISHED = {
    "start": np.zeros(60),
    "pull": DRAW.standard_normal(60),
    "theta": DRAW.standard_normal(60),
    "vectors": DRAW.standard_normal((3, 60)),
    "without": DRAW.standard_normal((2, 60)),
    "losses": np.array([1.0, 1.1, 1.2]),
    "sizes": np.array([20, 40]),
}


def test_what_is_the_same_is_no_further_off_than_eight_bits() -> None:
    found = compared(PUBLISHED, PUBLISHED)
    assert (found["same_bytes"], found["weights"], found["entries"], found["losses"]) == (True, 0, 0, 0)
    assert found["followed"] < 0.02
    assert found["left_out"] < 0.02


def test_what_is_off_is_measured() -> None:
    changed = {"theta": 1.5, "without": 1.5}
    again = PUBLISHED | {name: PUBLISHED[name] / by for name, by in changed.items()}
    again["losses"] = PUBLISHED["losses"] + 0.25
    found = compared(PUBLISHED, again)
    assert found["weights"] == pytest.approx(0.5)
    assert found["losses"] == pytest.approx(0.25)
    assert found["left_out"] > 0.05


def test_lies_are_as_far_off_as_they_are() -> None:
    rows = {name: least(PUBLISHED, lies)["left_out"] for name, lies in told(PUBLISHED, compared_other(), 0)}
    assert rows.pop("1.1 times the true one") == pytest.approx(0.1, abs=0.01)
    assert rows.pop("a little longer where questions pull") == pytest.approx(ASIDE, abs=0.01)
    assert min(rows.values()) > 0.5


def test_a_lie_is_worth_its_length_by_the_cosine_of_what_is_true() -> None:
    lies = dict(told(PUBLISHED, compared_other(), 0))
    true, pull = PUBLISHED["theta"] - PUBLISHED["without"], PUBLISHED["pull"]
    cosines = true @ pull / np.linalg.norm(true, axis=1) / np.linalg.norm(pull)
    assert worth(PUBLISHED, lies["1.1 times the true one"]) == pytest.approx(0.1)
    assert worth(PUBLISHED, lies["a little longer where questions pull"]) == pytest.approx(
        np.median(ASIDE / np.abs(cosines))
    )


def compared_other() -> dict[str, np.ndarray]:
    return PUBLISHED | {name: DRAW.standard_normal(PUBLISHED[name].shape) for name in ("theta", "without")}


def test_figures_are_the_furthest_honest_and_the_nearest_lie() -> None:
    honest = [
        {"precision": "float32", "made": n, "weights": n, "followed": n, "left_out": n, "losses": n} for n in (1, 2)
    ]
    lies = [{"precision": "float32", "lie": "a", "left_out": far, "worth": 10 * far} for far in (7, 6)]
    found = figures([*honest, *lies])
    assert (found["float32_honest_left_out"], found["float32_lies"]) == (2, 6)
    assert found["float32_worth_of_nearest_lie"] == 60


@pytest.mark.long
def test_two_trainings_are_the_same_and_one_with_less_of_the_processor_nearly(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OPENLEDGER_CACHE", str(tmp_path))
    base = tiny_model.make(tmp_path / "base")
    setting = Setting("tiny", contributors=3, records=2, queries=1, epochs=1, layers=2, base=str(base))
    machines = {name: retraining.MACHINES[name] for name in (PUBLISHER, "the same, deterministic algorithms", "SSE4")}
    monkeypatch.setattr(retraining, "MACHINES", machines)
    assert isinstance(machines[PUBLISHER], Machine)
    same, other, *lies = retraining.measure(setting, "float32")
    assert same["same_bytes"]
    assert 0 < other["weights"] < 0.05
    assert other["left_out"] < min(lie["left_out"] for lie in lies)
