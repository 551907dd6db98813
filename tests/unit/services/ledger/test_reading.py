"""The time by which reservations end: beside one who makes receipts late, after breaks of any number and length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ledger.reading import BREAK_SECONDS, MARK_SECONDS, Marks, Reading

DAY = 86_400
SECONDS = st.integers(BREAK_SECONDS + 1, DAY)
BREAKS = st.lists(st.tuples(SECONDS, st.integers(0, DAY)), min_size=1, max_size=6)
"""How long each lasts, and what comes before the next one."""
SPEED = 1.2


def pieces(seconds: int) -> list[int]:
    """Times from one note to the next, none of which is a break."""
    return [BREAK_SECONDS] * (seconds // BREAK_SECONDS) + [seconds % BREAK_SECONDS]


@given(BREAKS, st.floats(SPEED, 5))
def test_nothing_ends_before_its_receipt_comes_where_they_are_made_in_their_order(breaks, speed):
    """A fifth faster than answers come, or more: whatever answer's turn it is, what pays for it is still reserved."""
    read, now, made = Reading(1_000_000), 1_000_000, 1_000_000.0
    for lasted, then in breaks:
        now += lasted
        read = read.noted(now)
        assert read.until(now) <= made + 1
        for piece in pieces(then):
            now += piece
            read, made = read.noted(now), min(now, made + speed * piece)
            assert read.until(now) <= made + len(breaks)  # a part of a second each


@given(SECONDS, st.integers(0, BREAK_SECONDS))
def test_for_as_long_again_nothing_ends_in_whatever_order_they_are_made(lasted, more):
    read = Reading(1_000_000).noted(1_000_000 + lasted)
    for piece in pieces(lasted):
        read = read.noted(read.time + piece)
    assert read.until(read.time) == 1_000_000
    assert read.noted(read.time + more).until(read.time + more) == 1_000_000 + 1.5 * more


@given(BREAKS)
def test_nothing_is_held_for_more_than_twice_as_long_as_breaks_last_and_at_last_not_at_all(breaks):
    read, all_of_them, before = Reading(1_000_000), 0, 1_000_000.0
    for lasted, then in breaks:
        read, all_of_them = read.noted(read.time + lasted), all_of_them + lasted
        for piece in pieces(then):
            read = read.noted(read.time + piece)
            assert before <= read.until(read.time) + 1
            before = read.until(read.time)
            assert read.time - 2 * all_of_them - len(breaks) <= before <= read.time
    for piece in pieces(5 * all_of_them + 10):
        read = read.noted(read.time + piece)
    assert read.until(read.time) == read.time


@given(BREAKS, st.integers(BREAK_SECONDS + 1, 1000 * DAY), st.integers(0, DAY))
def test_what_a_clock_made_that_was_ahead_is_undone_when_it_is_put_right(breaks, ahead, runs):
    read = Reading(10**9)
    for lasted, then in breaks:
        read = read.noted(read.time + lasted)
        for piece in pieces(then):
            read = read.noted(read.time + piece)
    wrong = read.noted(read.time + ahead)
    for piece in pieces(runs):
        read, wrong = read.noted(read.time + piece), wrong.noted(wrong.time + piece)
    right = wrong.noted(read.time)
    assert 0 <= read.until(read.time) - right.until(read.time) <= 1


def test_a_clock_that_is_put_back_by_a_little_changes_nothing_else():
    read = Reading(1_000_000).noted(1_001_000)
    assert read.noted(1_000_900) == Reading(1_000_900, 1_000_000, read.goes)


STEPS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 12), st.booleans(), st.booleans()), max_size=60
)
"""Seconds that pass, receipts that come, that are read; whether one waited meanwhile, and whether it is noted then."""


@given(STEPS)
def test_a_log_is_read_up_to_when_it_ended_where_it_is_read_to_now(steps):
    """Beside all marks: what is said was read, is the later the more is read, and misses the newest by some seconds."""
    marks, every, said, noted = Marks(), list[tuple[int, int]](), float("-inf"), 0.0
    now = end = place = waited = waited_by_notes = 0
    for passed, come, go, waits, notes in steps:
        now, end = now + passed, end + come
        if waits:
            waited += passed
            marks.wait(passed)
        marks.add(now, end)
        every.append((now, end))
        place = min(end, place + go)
        true = max((when for when, mark in every if mark <= place), default=None)
        found = marks.read(place)
        said = said if found is None else found.when
        assert true is None or true - MARK_SECONDS - 30 <= said <= true
        assert marks.read(place) == found
        assert waited_by_notes + (found.waited if found else 0) <= waited
        if notes and found:
            assert found.waited <= found.when - noted
            noted, waited_by_notes = found.when, waited_by_notes + int(found.waited)
            marks.noted()
            assert marks.read(place) is None


def test_a_clock_that_is_put_back_has_its_marks():
    marks, found = Marks(), []
    for when, end in ((1000, 1), (1005, 2), (500, 3), (505, 4)):
        marks.add(when, end)
    for place in range(5):
        found.append(marks.read(place))
        marks.noted()
    assert found == [None, (1000, 0), None, (500, 0), None]


@given(st.integers(0, DAY), SECONDS, st.integers(0, BREAK_SECONDS))
def test_what_a_receipt_waited_for_its_answers_end_is_no_break_beside_one(waited, broke, less):
    read, now = Reading(1_000_000), 1_000_000 + waited
    assert read.noted(now + less, waited) == Reading(now + less)
    after = read.noted(now + broke, waited)
    assert after.until(after.time) == 1_000_000
    assert (after.stands, after.goes) == (1_000_000, now + 2 * broke)
