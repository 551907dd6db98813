"""How far two texts agree."""

from __future__ import annotations

import pytest

from services.openlora.replay import agreeing


@pytest.mark.parametrize(
    ("then", "now", "same"),
    (
        ((1, 2, 3), (1, 2, 3), 3),
        ((1, 2, 3), (1, 9, 3), 1),
        ((1, 2, 3), (9, 2, 3), 0),
        ((1, 2, 3), (1, 2), 2),
        ((1, 2), (1, 2, 3), 2),
        ((), (1,), 0),
    ),
)
def test_texts_agree_up_to_their_first_difference_or_the_end_of_the_shorter(then, now, same):
    assert agreeing(then, now) == same
