"""Slots go to whoever is first in the fair order, are kept while it matters, and never kept from anybody for ever."""

from __future__ import annotations

from dataclasses import dataclass

from services.openlora.plan import Planner


@dataclass(frozen=True, eq=False)
class Request:
    adapter: str
    tokens: int = 10


def queue(*adapters: str) -> list[Request]:
    return [Request(adapter) for adapter in adapters]


def chosen(planner: Planner, waiting: list[Request], now: float = 0) -> str | None:
    request = planner.choose(waiting, now, lambda _: True)
    return None if request is None else request.adapter


def busy(*adapters: str, slots: int, keep: float = 2) -> Planner:
    """A planner with an answer of each of them under way since 0."""
    planner = Planner(slots, keep)
    for adapter in adapters:
        planner.begin(adapter, 0)
    return planner


def test_who_is_first_begins_while_slots_are_free():
    planner = Planner(2, 2)
    assert chosen(planner, queue("b", "a")) == "b"
    assert chosen(planner, []) is None


def test_the_base_model_needs_no_slot():
    assert chosen(busy("a", slots=1), queue("b", "")) == ""


def test_who_needs_a_slot_that_is_not_free_is_passed_by_whoever_has_one():
    planner = busy("a", "b", slots=2)
    assert chosen(planner, queue("c", "b")) == "b"
    assert chosen(planner, queue("c")) is None
    planner.end("a")
    assert chosen(planner, queue("c", "b")) == "c"


def test_who_may_not_begin_is_passed():
    waiting = queue("a", "b")
    assert Planner(2, 2).choose(waiting, 0, lambda request: request.adapter == "b") is waiting[1]


def test_an_adapter_keeps_its_slot_for_its_time_and_gets_no_new_turns_after():
    planner = busy("a", slots=1)
    assert chosen(planner, queue("b", "a"), now=1.9) == "a"
    assert chosen(planner, queue("b", "a"), now=2) is None
    planner.end("a")
    assert chosen(planner, queue("b", "a"), now=3) == "b"


def test_nothing_is_cleared_when_nobody_wants_its_slot():
    planner = busy("a", slots=1)
    assert chosen(planner, queue("a"), now=100) == "a"
    planner = busy("a", slots=2)
    assert chosen(planner, queue("b", "a"), now=100) == "b"


def test_what_is_cleared_is_taken_up_again_when_whoever_wanted_its_slot_left():
    planner = busy("a", slots=1)
    assert chosen(planner, queue("b", "a"), now=2) is None
    assert chosen(planner, queue("a"), now=2) == "a"


def test_of_what_is_not_wanted_the_least_demanded_is_cleared_and_the_most_demanded_stays():
    planner = busy("much", "little", "some", slots=3)
    demand = [Request("little", 10), Request("some", 20), Request("much", 30)]
    assert chosen(planner, [*queue("c1", "c2", "c3"), *demand], now=2) == "much"
    assert chosen(planner, [*queue("c1", "c2", "c3"), *demand[:2]], now=2) is None


def test_the_most_demanded_is_cleared_only_when_all_others_are_wanted():
    planner = busy("hot", "small", slots=2)
    waiting = queue("cold", "small", "hot", "hot")
    assert chosen(planner, waiting, now=2) == "small"
    planner.end("hot")
    assert chosen(planner, waiting, now=3) == "cold"


def test_nobody_waits_for_ever_while_the_order_changes():
    """Of three adapters on two slots the third was never reached, would clearing be given up when the order changes."""
    planner, now = busy("x", "y", slots=2, keep=0), 0.0
    served = {"x": 1, "y": 1, "z": 0}
    running = [("x", 3), ("y", 5)]
    for _ in range(60):
        now += 1
        for adapter in [adapter for adapter, until in running if until <= now]:
            planner.end(adapter)
        running = [(adapter, until) for adapter, until in running if until > now]
        while (adapter := chosen(planner, queue(*sorted(served, key=served.__getitem__)), now)) and len(running) < 4:
            planner.begin(adapter, now)
            served[adapter] += 1
            running.append((adapter, now + 3))
    assert max(served.values()) <= min(served.values()) + 4
