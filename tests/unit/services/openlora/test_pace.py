"""How long whoever is sent away should wait, from how fast answers ended of late."""

from __future__ import annotations

import pytest

from services.openlora.pace import Pace


def paced(*, every: float, answers: int) -> Pace:
    pace = Pace()
    for number in range(answers + 1):
        pace.note(number * every, ended=1 if number else 0, working=number > 0)
    return pace


def test_nothing_is_known_at_first():
    assert Pace().seconds_for(100) == 2
    assert paced(every=1, answers=4).seconds_for(100) == 2


def test_it_takes_as_long_as_answers_took():
    assert paced(every=1, answers=20).seconds_for(30) == pytest.approx(30, rel=0.01)
    assert paced(every=0.1, answers=200).seconds_for(30) == pytest.approx(3, rel=0.01)


def test_the_advice_is_between_a_second_and_a_minute():
    assert paced(every=1, answers=20).seconds_for(0) == 1
    assert paced(every=1, answers=20).seconds_for(1000) == 60


def test_an_engine_that_hangs_makes_it_longer():
    pace = paced(every=1, answers=20)
    pace.note(20 + 300, working=True)
    assert pace.seconds_for(1) == 60


def test_time_in_which_nothing_was_asked_counts_nothing():
    pace = paced(every=1, answers=20)
    pace.note(20 + 300, working=False)
    assert pace.seconds_for(30) == pytest.approx(30, rel=0.01)


def test_what_was_long_ago_counts_little():
    pace = paced(every=1, answers=200)
    for number in range(1, 600):
        pace.note(200 + number / 10, ended=1, working=True)
    assert 3 < pace.seconds_for(30) < 9
