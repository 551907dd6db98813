"""Whoever was served least is next, and nobody gains by staying away, coming late or under new names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.openlora.fair import REPLAY, Fairness


def served(fair: Fairness, tenant: str, *, prompt: int = 0, answer: int = 0) -> None:
    """One whole turn, got at once."""
    fair.arrive(tenant)
    fair.begin(tenant, prompt)
    fair.made(tenant, answer)
    fair.end(tenant)


def first(fair: Fairness, *tenants: str) -> str:
    return min(tenants, key=fair.rank)


@pytest.fixture
def fair() -> Fairness:
    """In which `waits` waits, so that nothing is forgotten, with nothing served yet."""
    fair = Fairness()
    fair.arrive("waits")
    return fair


def test_a_token_of_an_answer_counts_two_of_a_prompt(fair):
    for tenant in ("reads", "writes"):
        fair.arrive(tenant)
    fair.begin("reads", 19)
    fair.begin("writes", 0)
    fair.made("writes", 10)
    assert first(fair, "writes", "reads") == "reads"
    fair.made("reads", 1)
    assert first(fair, "writes", "reads") == "writes"


def test_a_prompt_counts_even_if_nothing_came_of_it(fair):
    served(fair, "leaves", prompt=50)
    fair.arrive("leaves")
    assert first(fair, "leaves", "waits") == "waits"


def test_whoever_comes_begins_where_the_least_served_of_those_who_wait_stands():
    fair = Fairness()
    for tenant, tokens in (("a", 100), ("b", 300)):
        fair.arrive(tenant)
        fair.arrive(tenant)
        fair.begin(tenant, tokens)
    fair.arrive("new")
    assert fair.rank("new") == fair.rank("a") < fair.rank("b")


def test_a_long_answer_of_one_who_does_not_wait_gives_newcomers_no_start():
    fair = Fairness()
    fair.arrive("long")
    fair.begin("long", 1)
    for _ in range(2):
        fair.arrive("waits")
    fair.begin("waits", 500)
    fair.arrive("new")
    assert fair.rank("new") == fair.rank("waits") > fair.rank("long")


def test_whoever_leaves_ahead_of_the_others_comes_back_ahead(fair):
    served(fair, "often", answer=100)
    served(fair, "often", answer=100)
    fair.arrive("often")
    assert fair.rank("often") == (False, 400)


def test_what_makes_no_difference_is_forgotten(fair):
    for number in range(100):
        served(fair, f"wallet {number}", answer=10)
    fair.begin("waits", 500)
    fair.arrive("waits")
    served(fair, "another")
    assert len(fair) == 1


def test_no_more_are_remembered_than_may_be_and_those_far_ahead_first():
    fair = Fairness(remembered=2)
    fair.arrive("waits")
    for tenant, answer in (("little", 1), ("much", 100), ("more", 200)):
        served(fair, tenant, answer=answer)
    assert len(fair) == 3
    for tenant in ("little", "much"):
        fair.arrive(tenant)
    assert fair.rank("little") == fair.rank("waits") < fair.rank("much")


def test_when_nobody_is_here_everything_begins_anew():
    fair = Fairness()
    served(fair, "busy", answer=1000)
    assert len(fair) == 0
    for tenant in ("busy", "new"):
        fair.arrive(tenant)
    assert fair.rank("busy") == fair.rank("new")


def test_replays_come_after_everybody_and_hold_nobodys_place_down(fair):
    fair.arrive(REPLAY)
    fair.begin("waits", 10**9)
    fair.arrive("waits")
    assert first(fair, REPLAY, "waits") == "waits"
    fair.arrive("new")
    assert fair.rank("new") == fair.rank("waits")


def test_whoever_gives_up_owes_nothing(fair):
    fair.arrive("gives up")
    fair.give_up("gives up")
    assert len(fair) == 1


LENGTHS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=20)


@given(a=LENGTHS, b=LENGTHS, turns=st.integers(1, 4))
def test_of_two_who_always_wait_none_gets_more_than_turns_can_hold(a, b, turns):
    """The bound of the paper's theorem 4.4: twice the most that the turns at hand can hold."""
    fair, lengths, running, given_to = Fairness(), {"a": a, "b": b}, [], {"a": 0, "b": 0}
    most = 2 * max(50 + 2 * 50 * turns, 2 * 50 * turns)
    for tenant in ("a", "b"):
        for _ in range(turns + 1):
            fair.arrive(tenant)
    for number in range(200):
        while len(running) < turns:
            tenant = first(fair, "b", "a")
            prompt, length = lengths[tenant][number % len(lengths[tenant])]
            fair.begin(tenant, prompt)
            fair.arrive(tenant)
            given_to[tenant] += prompt
            running.append([tenant, length])
        for turn in running:
            turn[1] -= 1
            fair.made(turn[0], 1)
            given_to[turn[0]] += 2
        for turn in [turn for turn in running if not turn[1]]:
            running.remove(turn)
            fair.end(turn[0])
        assert abs(given_to["a"] - given_to["b"]) <= most
