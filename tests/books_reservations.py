"""Of stories about money: what leases reserve, by the clock where no receipts are read, else by when they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from sqlalchemy import Connection

from services.ledger.lease import Times
from services.ledger.store import payers, receipts_read

TIMES = Times(lease=100, grace=20, redeem=50)
LOG = "log"


class Reservations(RuleBasedStateMachine):
    """Receipts are read, or wait; `now` goes on meanwhile."""

    read: Callable[[Callable[[Connection], Any]], Any]
    write: Callable[[Callable[[Connection], Any]], Any]
    now: int
    leases: list[str]
    lease: Callable[[str, int], None]
    reads = False

    def begin_to_read(self, reads: bool) -> None:
        self.leases, self.reads = [], reads
        if reads:
            self.write(lambda c: receipts_read.begin(c, LOG, self.now))

    def until(self) -> float:
        """By when leases end."""
        return float(self.read(lambda c: receipts_read.until(c, self.now)))

    def reserved(self) -> dict[str, int]:
        """What each lease reserves, by its name."""
        until = self.until()
        return dict(self.read(lambda c: [(n, payers.lease(c, n).reserved(until)) for n in self.leases]))

    @precondition(lambda self: self.reads and self.leases)
    @rule(seconds=st.sampled_from((1, 50, 150, 1000)), whose=st.integers(0, 1000), units=st.integers(1, 60))
    def receipts_wait(self, seconds: int, whose: int, units: int) -> None:
        """For so long, in which a payer asks for another lease; then all are read, and what was reserved still is."""
        before = self.reserved()
        self.now += seconds
        lease = self.read(lambda c: payers.lease(c, self.leases[whose % len(self.leases)]))
        self.lease(lease.payer, units)
        broke = self.now - self.until() > receipts_read.BREAK_SECONDS
        self.write(lambda c: receipts_read.note(c, LOG, self.now, TIMES.grace))
        after = self.reserved()
        assert self.until() == self.now
        for name, amount in before.items():
            assert after[name] == amount or (not broke and not after[name])
