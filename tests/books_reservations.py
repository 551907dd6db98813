"""Of stories about money: what leases reserve, by the clock where no receipts are read, else by when they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import Connection

from services.ledger.lease import Times
from services.ledger.reading import BREAK_SECONDS
from services.ledger.store import payers, receipts_read

TIMES = Times(lease=100, grace=20, redeem=50)
LOG = "log"
SPEED = 1.2
"""How many receipts are made while one answer comes: of those that a break held up, and behind them of new ones."""


class Reservations(RuleBasedStateMachine):
    """Receipts are read, or wait; `now` goes on meanwhile, and `made` is up to which answer there are receipts."""

    read: Callable[[Callable[[Connection], Any]], Any]
    write: Callable[[Callable[[Connection], Any]], Any]
    now: int
    leases: list[str]
    lease: Callable[[str, int], None]
    reads = False
    steady = True
    """Whether the clock goes as clocks do."""

    def begin_to_read(self, reads: bool) -> None:
        self.leases, self.reads, self.noted, self.made = [], reads, self.now, float(self.now)
        if reads:
            self.write(lambda c: receipts_read.begin(c, LOG, self.now))

    def until(self) -> float:
        """By when leases end."""
        return float(self.read(lambda c: receipts_read.until(c, self.now)))

    def reserved(self) -> dict[str, int]:
        """What each lease reserves, by its name."""
        until = self.until()
        return dict(self.read(lambda c: [(n, payers.lease(c, n).reserved(until)) for n in self.leases]))

    def note(self) -> bool:
        """All were read; says whether that was after a break, in which none is made."""
        passed, self.noted = self.now - self.noted, self.now
        if passed <= BREAK_SECONDS:
            self.made = min(self.now, self.made + SPEED * passed)
        self.write(lambda c: receipts_read.note(c, LOG, self.now))
        return passed > BREAK_SECONDS

    @precondition(lambda self: self.reads and self.leases)
    @rule(seconds=st.sampled_from((1, 50, 150, 1000)), whose=st.integers(0, 1000), units=st.integers(1, 60))
    def receipts_wait(self, seconds: int, whose: int, units: int) -> None:
        """For so long, in which a payer asks for another lease; then all are read, and it asks once more."""
        before, until = self.reserved(), self.until()
        self.now += seconds
        lease = self.read(lambda c: payers.lease(c, self.leases[whose % len(self.leases)]))
        self.lease(lease.payer, units)
        broke = self.note()
        after = self.reserved()
        assert not self.steady or not broke or until - 1 < self.until() <= until
        for name, amount in before.items():
            assert after[name] == amount or (not broke and not after[name])
        self.lease(lease.payer, units)

    @precondition(lambda self: self.reads)
    @rule(notes=st.sampled_from((1, 5, 20)))
    def receipts_come(self, notes: int) -> None:
        """One after the other."""
        for _ in range(notes):
            self.now += BREAK_SECONDS // 2
            self.note()

    @invariant()
    def what_may_still_come_is_reserved(self) -> None:
        """While there may be receipts to come of a lease, nobody else has what they are paid from."""
        if not self.reads or not self.steady:
            return
        until = self.until()
        for found in self.read(lambda c: [payers.lease(c, name) for name in self.leases]):
            assert found.expire_time <= self.made or found.reserved(until) == max(0, found.held - found.charged)
