"""Which split an answer is paid by: one at every moment, and around a change either."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.registries import Split
from services.ledger.splits import UNREGISTERED, Change, Held, allowed, at, history, used

FIRST, SECOND, THIRD = Split(2000, 1000), Split(1000, 500), Split(0, 5000)
CHANGES = [Change(split, time, time // 10, f"0x{time}") for split, time in ((FIRST, 100), (SECOND, 200), (THIRD, 300))]
HELD = history(CHANGES)
LAG = 10


def test_splits_follow_each_other_from_before_the_registration_on():
    assert [(one.since and one.since.split, one.until) for one in HELD] == [
        (None, 100),
        (FIRST, 200),
        (SECOND, 300),
        (THIRD, None),
    ]
    assert history([]) == UNREGISTERED == (Held(None, None),)


@pytest.mark.parametrize(
    ("time", "now", "either"),
    (
        (0, None, {None}),
        (89, None, {None}),
        (90, None, {None, FIRST}),
        (99, None, {None, FIRST}),
        (100, FIRST, {None, FIRST}),
        (109, FIRST, {None, FIRST}),
        (110, FIRST, {FIRST}),
        (199, FIRST, {FIRST, SECOND}),
        (200, SECOND, {FIRST, SECOND}),
        (209, SECOND, {FIRST, SECOND}),
        (210, SECOND, {SECOND}),
        (10**12, THIRD, {THIRD}),
    ),
)
def test_around_a_change_either_may_be_the_one(time, now, either):
    def of(one):
        return one.since and one.since.split

    assert of(at(HELD, time)) == now
    assert {of(one) for one in allowed(HELD, time, LAG)} == either
    for split in (FIRST, SECOND, THIRD):
        found = used(HELD, split, time, LAG)
        # Before the registration it is this ledger's own, whichever that was.
        assert (found is not None) is (split in either or None in either)
        assert found is None or of(found) in (split, None)
        if now == split:
            assert found == at(HELD, time)


def test_an_answer_of_no_known_time_is_by_this_ledgers_own():
    assert tuple(allowed(HELD, None, LAG)) == HELD[:1]


def test_one_that_went_and_came_again_is_the_one_of_its_time():
    held = history([*CHANGES, Change(FIRST, 400, 40, "0x4")])
    assert used(held, FIRST, 150, LAG) == held[1]
    assert used(held, FIRST, 450, LAG) == held[4]
    assert used(held, FIRST, 395, LAG) == held[4]
    assert used(held, FIRST, 250, LAG) is None


HISTORIES = st.lists(st.tuples(st.integers(1, 50), st.sampled_from((FIRST, SECOND, THIRD))), max_size=6).map(
    lambda steps: [
        Change(split, time, number, f"0x{number}")
        for number, (time, (_, split)) in enumerate(zip(accumulate(step for step, _ in steps), steps, strict=True))
    ]
)


@given(HISTORIES, st.integers(0, 400), st.integers(0, 60))
def test_whatever_changed_one_split_holds_at_every_moment_and_may_always_be_used(changes, time, lag):
    held = history(changes)
    now = [one for one in held if one.holds(time)]
    assert now == [at(held, time)]
    assert now[0] in allowed(held, time, lag)
    if now[0].since is not None:
        assert used(held, now[0].since.split, time, lag) == now[0]
    for one in allowed(held, time, lag):
        distance = [abs(time - edge) for edge in (one.since.time if one.since else None, one.until) if edge is not None]
        assert one == now[0] or min(distance) <= lag
