from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from openledger import canonical
from services.factory.evaluation.curves import Curves, HeldOutPoint, draw_contributors, draw_training, smoothed


def picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def run(steps: int) -> Curves:
    losses = tuple(3.0 - k / max(steps, 1) for k in range(steps))
    return Curves(losses, tuple(1e-3 for _ in losses), (HeldOutPoint(0, 3.1), HeldOutPoint(steps, 2.2)))


def test_the_data_is_canonical_json() -> None:
    curves = Curves((1.5, math.nan), (1e-3, 0.0), (HeldOutPoint(0, math.inf), HeldOutPoint(2, 1.0)), kept_step=1)
    assert canonical.loads(canonical.dumps(curves.to_json())) == {
        "losses": [1.5, None],
        "learning_rates": [0.001, 0.0],
        "held_out": [{"step": 0, "loss": None}, {"step": 2, "loss": 1.0}],
        "kept_step": 1,
    }


@pytest.mark.parametrize("steps", (0, 1, 2, 27, 500))
def test_runs_of_any_length_are_drawn(steps: int) -> None:
    image = picture(draw_training(run(steps)))
    assert image.shape == (750, 1200, 3)
    assert (image < 80).all(axis=2).sum() > 500, "something dark stands on the paper"


def test_curves_that_differ_look_different() -> None:
    flat = Curves((2.0,) * 30, (1e-3,) * 30)
    assert (picture(draw_training(flat)) != picture(draw_training(run(30)))).any()


def test_losses_that_are_no_numbers_are_gaps() -> None:
    broken = Curves((2.0, math.nan, math.inf, 1.0), (1e-3,) * 4, (HeldOutPoint(0, math.nan),))
    assert picture(draw_training(broken)).shape == (750, 1200, 3)


def test_the_mean_is_centred_and_passes_over_gaps() -> None:
    assert smoothed([1.0, 2.0, 6.0, 4.0], 3) == pytest.approx([math.nan, 3.0, 4.0, math.nan], nan_ok=True)
    assert smoothed([1.0, 2.0], 1) == [1.0, 2.0]
    assert smoothed([1.0, math.nan, 3.0], 3)[1] == 2.0
    assert math.isnan(smoothed([math.nan], 1)[0])
    assert smoothed([], 3) == []


def test_contributors_are_drawn_up_to_a_bound() -> None:
    few = picture(draw_contributors({"0x" + "a" * 40: 1.0, "0xb": 0.5}, [0.1, 0.2]))
    many = picture(draw_contributors({f"0x{k:040x}": 1.0 + k for k in range(1000)}, []))
    assert few.shape[0] < many.shape[0] < 1200
    assert picture(draw_contributors({}, [])).shape[1] == 1200
