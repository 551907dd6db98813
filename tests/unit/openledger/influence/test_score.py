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


def test_a_gradient_of_another_layout_is_refused() -> None:
    index = build(PARAMETERS, {ANNE: np.zeros(3)})
    with pytest.raises(QuantizeError, match="layouts"):
        scores(quantise(np.zeros(3), (1, 2)), index)
