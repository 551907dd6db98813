"""Residency: what goes first, what is spared, and that nothing stays for ever."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from services.openlora.residency import Residency


def nobody(_: str) -> bool:
    return False


def room(kept: Residency, size: int = 1, spared=nobody) -> list[str]:
    """Make room; what had to go, in order."""
    gone = []
    while (victim := kept.victim(size, spared)) is not None:
        kept.remove(victim)
        gone.append(victim)
    return gone


def test_of_equals_goes_what_was_not_used_for_longest():
    kept = Residency(3)
    for name in "abc":
        kept.add(name, 1, 1.0)
    kept.use("a")
    kept.use("a")
    assert room(kept) == ["b"]
    assert room(kept, 2) == ["c"]


def test_what_was_dear_to_have_stays_before_what_was_cheap():
    kept = Residency(2)
    kept.add("dear", 1, 9.0)
    kept.add("cheap", 1, 0.1)
    assert room(kept) == ["cheap"]


def test_much_room_for_little_goes_first():
    kept = Residency(110)
    kept.add("large", 100, 1.0)
    kept.add("small", 10, 1.0)
    assert room(kept, 5) == ["large"]


def test_what_is_spared_stays_and_when_all_is_spared_there_is_no_room():
    kept = Residency(2)
    kept.add("a", 1, 0.1)
    kept.add("b", 1, 9.0)
    assert room(kept, spared=lambda name: name == "a") == ["b"]
    assert kept.victim(2, lambda name: name == "a") is None
    assert not kept.fits(2)
    assert kept.fits(1)


def test_nothing_goes_while_there_is_room():
    kept = Residency(2)
    kept.add("a", 1, 1.0)
    assert kept.victim(1, nobody) is None
    assert "a" in kept


def test_what_was_popular_once_goes_when_others_are_used_instead():
    kept = Residency(2)
    kept.add("once", 1, 1.0)
    for _ in range(50):
        kept.use("once")
    for number in range(200):
        room(kept)
        if "once" not in kept:
            return
        kept.add(f"n{number}", 1, 1.0)
        kept.use(f"n{number}")
    raise AssertionError("it stayed")


def test_coming_again_begins_anew():
    kept = Residency(2)
    kept.add("a", 1, 1.0)
    for _ in range(9):
        kept.use("a")
    kept.add("a", 1, 1.0)
    kept.add("b", 1, 2.0)
    assert kept.taken == 2
    assert room(kept) == ["a"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5), st.floats(0, 10)), max_size=60), st.integers(5, 20))
def test_what_is_taken_is_the_sum_of_what_is_there_and_never_more_than_there_is(steps, capacity):
    kept, sizes = Residency(capacity), {}
    for number, size, cost in steps:
        name = f"n{number}"
        if name in kept:
            kept.use(name)
            continue
        for gone in room(kept, size):
            del sizes[gone]
        kept.add(name, size, cost)
        sizes[name] = size
        assert kept.taken == sum(sizes.values()) <= capacity
        assert set(kept.names()) == sizes.keys()


def test_under_zipf_it_hits_more_often_than_first_in_first_out():
    draw = random.Random(7)
    names = draw.choices(range(64), [1 / n for n in range(1, 65)], k=4000)
    kept, line, hits, line_hits = Residency(8), list[int](), 0, 0
    for number in names:
        name = f"n{number}"
        if name in kept:
            hits += 1
            kept.use(name)
        else:
            room(kept)
            kept.add(name, 1, 1.0)
        if number in line:
            line_hits += 1
        else:
            line = [*line[-7:], number]
    assert hits > 1.1 * line_hits
