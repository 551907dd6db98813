from __future__ import annotations

import numpy as np
import pytest

from openledger.influence.index import build
from openledger.influence.parameters import Parameter
from openledger.influence.quantize import NAT, QuantizeError, quantise
from openledger.influence.score import scores

PARAMETERS = (Parameter("a", (2,)), Parameter("b", (1,)))
ANNE, BEN = "0x" + "a1" * 20, "0x" + "b2" * 20


def test_scores_are_minus_the_dot_products_in_row_order() -> None:
    index = build(
        PARAMETERS, {BEN: np.array([-1.0, 0, 0]), ANNE: np.array([0.5, 0, 2.0])}, [np.zeros(3), np.array([0, 1.0, 0])]
    )
    result = scores(quantise(np.array([1.0, 0.25, -3.0]), (2, 1)), index)
    assert result.contributors == {ANNE: int(5.5 * NAT), BEN: NAT}
    assert result.placebos == [0, -NAT // 4]


def test_standard_errors_are_the_jackknifes_over_tensors() -> None:
    """By its definition: the sum estimated anew without each tensor, and how much that varies."""
    chance = np.random.default_rng(0)
    layout = tuple(Parameter(f"p{n}", (size,)) for n, size in enumerate((3, 5, 2, 4)))
    vectors = {who: chance.normal(size=14) for who in (ANNE, BEN)}
    index, gradient = build(layout, vectors, [chance.normal(size=14)]), quantise(chance.normal(size=14), (3, 5, 2, 4))
    result, ends = scores(gradient, index), np.cumsum([3, 5, 2])
    for row, who in enumerate((ANNE, BEN)):
        products = -gradient.to_float() * index.row(row).to_float()
        parts = np.array([part.sum() for part in np.split(products, ends)])
        without = np.array([4 / 3 * (parts.sum() - part) for part in parts])
        error = np.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum())
        assert result.errors[who] / NAT == pytest.approx(error, rel=1e-9)


def test_the_error_of_a_single_tensors_score_is_not_known() -> None:
    index = build((Parameter("a", (2,)),), {ANNE: np.array([1.0, 0])})
    assert scores(quantise(np.array([1.0, 0]), (2,)), index).errors == {ANNE: 0}


def test_a_gradient_of_another_layout_is_refused() -> None:
    index = build(PARAMETERS, {ANNE: np.zeros(3)})
    with pytest.raises(QuantizeError, match="layouts"):
        scores(quantise(np.zeros(3), (1, 2)), index)
