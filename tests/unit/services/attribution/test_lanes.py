"""What traces need goes first, one thing at a time; what can wait is taken when no trace waits."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from services.attribution.lanes import Lanes


@pytest.fixture
def lanes():
    found = Lanes("test")
    yield found
    found.shutdown()


class Busy:
    """The thread, occupied until it is let go."""

    def __init__(self, lanes):
        self.go, begun = threading.Event(), threading.Event()
        lanes.first.submit(lambda: (begun.set(), self.go.wait(10)))
        assert begun.wait(10)


def test_what_traces_need_goes_before_what_came_earlier(lanes):
    order, busy = [], Busy(lanes)
    later = [lanes.second.submit(order.append, f"second {n}") for n in range(3)]
    first = [lanes.first.submit(order.append, f"first {n}") for n in range(3)]
    busy.go.set()
    for work in (*first, *later):
        work.result(10)
    assert order == ["first 0", "first 1", "first 2", "second 0", "second 1", "second 2"]


def test_while_traces_wait_elsewhere_the_second_lane_is_not_taken(lanes):
    order = []
    lanes.hold(True)
    later = [lanes.second.submit(order.append, n) for n in range(3)]
    lanes.first.submit(order.append, "first").result(10)
    lanes.hold(True)
    assert order == ["first"]
    assert not any(work.done() for work in later)
    lanes.hold(False)
    for work in later:
        work.result(10)
    assert order == ["first", 0, 1, 2]


def test_what_is_raised_is_heard_of_and_the_next_goes_on(lanes):
    def wrong():
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        lanes.second.submit(wrong).result(10)
    assert lanes.first.submit(lambda: 7).result(10) == 7


def test_what_nobody_waits_for_any_more_is_not_begun(lanes):
    order, busy = [], Busy(lanes)
    given_up, other = (lanes.second.submit(order.append, n) for n in range(2))
    assert given_up.cancel()
    busy.go.set()
    other.result(10)
    assert order == [1]


def test_at_the_end_what_has_begun_is_finished_and_the_rest_is_not_begun():
    lanes, order = Lanes("test"), []
    busy = Busy(lanes)
    waiting = [lanes.first.submit(order.append, 1), lanes.second.submit(order.append, 2)]
    threading.Timer(0.1, busy.go.set).start()
    lanes.shutdown()
    for work in waiting:
        with pytest.raises(CancelledError):
            work.result(10)
    assert order == []
