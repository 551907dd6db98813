"""What is run ahead: in order, one at a time, and no failure is lost."""

from __future__ import annotations

import threading

import pytest

from services.kit.ahead import ahead


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
