"""Money that goes to the wrong people, by hand."""

from __future__ import annotations

import numpy as np

from bench import doubt
from openledger.split import UNATTRIBUTED


def test_scores_that_are_right_pay_nobody_wrongly_and_errors_leave_money_to_nobody() -> None:
    scores = np.tile([0.3, 0.1, -0.2], (6, 1))
    rows = doubt.rows("s", scores, np.full((6, 3), 0.04), scores)
    assert {row["answers"] for row in rows} == {1, 6}
    assert all(row["wrong"] == 0 for row in rows)
    assert [row["unattributed"] for row in rows if row["answers"] == 6] == [0.0, 0.03, 0.075, 0.15, 0.3]


def test_what_somebody_has_too_much_is_wrong_and_what_somebody_lacks_is_not_counted_twice() -> None:
    right = np.array([[0.3, 0.1, 0.0]])
    [row] = [r for r in doubt.rows("s", np.array([[0.3, 0.0, 0.1]]), np.zeros((1, 3)), right) if r["z"] == 1]
    assert row["wrong"] == row["wrong_9_in_10"] == 0.25
    assert doubt.settled(np.array([[-1.0]]), np.zeros((1, 1)), 0) == {UNATTRIBUTED: 1.0}
