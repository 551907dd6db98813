"""A clock that is wrong, put right, and wrong again: what is promised may change with it, what was booked may not."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from services.ledger.lease import COLLECT_SECONDS, Lease, Payer, Refusal, charge
from tests.books_stores import Store
from tests.books_stories import Stories

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


class Skewed(Stories):
    """Stories in which the clock jumps, by up to two hours each way: over leases, their grace, and authorisations.

    Nothing is lost or doubled, no payer spends more than it has or signed for, each answer is booked once at most: a
    lease that had run out, whose money was lent again, has nothing at an earlier hour.
    """

    store = staticmethod(cache(Store))
    steady = False

    @rule(seconds=st.sampled_from((-7200, -300, -60, 60, 300, 7200)))
    def clock(self, seconds: int) -> None:
        self.now += seconds


@pytest.mark.slow
def test_a_clock_that_jumps_loses_nothing_and_doubles_nothing() -> None:
    rules = settings(max_examples=60, stateful_step_count=20, suppress_health_check=SLOW)
    run_state_machine_as_test(Skewed, settings=rules)


@pytest.mark.parametrize("fast", (-1800, 0, 1800))
@pytest.mark.parametrize(("reserved_until", "room"), ((0, 6 * 3600), (1_000_000, COLLECT_SECONDS)))
def test_a_clock_that_is_wrong_by_less_than_the_room_gives_nothing_away(
    reserved_until: int, room: int, fast: int
) -> None:
    """Whatever this machine thinks what time it is: what is booked can still be redeemed by the chain's clock."""
    deadline, payer_has = 1_000_000, 100
    payer = Payer("0xa", balance=payer_has, cap=payer_has, deadline=deadline)
    lease = Lease("leases/1", "0xa", 100, 100, 0, reserved_until, reserved_until)
    last = deadline - room - fast  # by the chain's clock, when this machine's says that the room begins
    assert charge(payer, lease, [], 1, last + fast, last + fast, 6 * 3600).charged == 1
    with pytest.raises(Refusal):
        charge(payer, lease, [], 1, last + 1 + fast, last + 1 + fast, 6 * 3600)
    assert deadline - last >= room - 1800 > 0
