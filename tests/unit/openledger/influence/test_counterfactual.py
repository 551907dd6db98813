from __future__ import annotations

import numpy as np
import pytest

from openledger.influence.counterfactual import fit


def test_effects_that_add_up_are_found() -> None:
    draw = np.random.default_rng(0)
    effects = draw.normal(size=(6, 3))
    masks = draw.random((400, 6)) < 0.5
    values = masks @ effects + 7.0
    assert np.allclose(fit(masks, values, ridge=1e-9), effects, atol=1e-6)
    assert np.abs(fit(masks, values) - effects).max() < 0.1


def test_the_ridge_keeps_effects_small_where_there_are_fewer_models_than_contributors() -> None:
    draw = np.random.default_rng(1)
    masks = draw.random((4, 20)) < 0.5
    values = draw.normal(size=(4, 2))
    few = fit(masks, values)
    assert np.isfinite(few).all()
    assert np.abs(few).max() < np.abs(values).max()


def test_one_model_says_nothing() -> None:
    with pytest.raises(ValueError, match="at least two"):
        fit(np.ones((1, 3), dtype=bool), np.ones((1, 2)))
