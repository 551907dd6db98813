"""What is run ahead: in order, one at a time, and no failure is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from services.kit.ahead import ahead, read_ahead


def test_everything_has_run_in_order_at_the_end() -> None:
    done: list[int] = []
    with ahead() as soon:
        for number in range(20):
            soon(done.append, number)
    assert done == list(range(20))


def test_the_caller_goes_on_meanwhile_and_is_at_most_one_ahead() -> None:
    gate, asked = threading.Event(), []
    with ahead() as soon:
        soon(gate.wait, 10)
        asked.append(1)
        threading.Timer(0.05, gate.set).start()
        soon(asked.append, 2)
        assert gate.is_set(), "the second waited for the first"
    assert asked == [1, 2]


@pytest.mark.parametrize("more", (0, 1))
def test_a_failure_is_raised_and_nothing_runs_after_it(more: int) -> None:
    done: list[int] = []

    def fail_and_go_on() -> None:
        with ahead() as soon:
            soon(divmod, 1, 0)
            for number in range(more):
                soon(done.append, number)

    with pytest.raises(ZeroDivisionError):
        fail_and_go_on()
    assert done == []


def test_what_is_read_ahead_comes_in_order_and_whole() -> None:
    with read_ahead(range(20)) as items:
        assert list(items) == list(range(20))
    with read_ahead(()) as items:
        assert list(items) == []


def test_the_next_one_is_asked_for_while_one_is_used_and_no_more() -> None:
    gate, asked = threading.Event(), []

    def given() -> Iterator[int]:
        for number in range(9):
            asked.append(number)
            if number == 1:
                gate.set()
            yield number

    with read_ahead(given()) as items:
        assert next(items) == 0
        assert gate.wait(10), "the second is asked for while the first is used"
    assert asked == [0, 1], "and at the end nothing more is"


def test_a_failure_of_what_gives_them_is_raised_in_its_place() -> None:
    def given() -> Iterator[float]:
        yield from (1 / number for number in (1, 0, 1))

    with read_ahead(given()) as items:
        assert next(items) == 1
        with pytest.raises(ZeroDivisionError):
            next(items)
