"""Up to when receipts were read, and by which time leases end what they reserve.  Pure arithmetic; Unix seconds.

After a break receipts come late for hours, those of new answers, too: they come behind those of the break.  So the time
by which reservations end is behind as well, for all leases alike, and catches up no faster than the receipts do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

BREAK_SECONDS = 120
"""More than passes between two notes while nothing waits: a call's long wait, and as long a rest again."""
PACE = 1.5
"""How fast that time then goes until it is at the clock: for whoever makes a fifth more receipts than answers come."""


@dataclass(frozen=True)
class Reading:
    """Of a log of receipts.

    `time`: all that were there by then were read.  `stands`: by what reservations end until `goes`, after a break:
    those receipts that it held up may come in whatever order.
    """

    time: int
    stands: int = 0
    goes: int = 0

    def until(self, now: float) -> float:
        """By what reservations end; never after `now`."""
        read = min(now, self.time)
        return min(read, self.stands + PACE * max(0, read - self.goes))

    def noted(self, when: int) -> Reading:
        """All were read that were there then.

        A break holds for as long again as it lasted.  A clock that is put back by more than what is a break was wrong
        before: what it made of that is undone.
        """
        passed = when - self.time
        if passed > BREAK_SECONDS:
            return Reading(when, int(self.until(self.time)), max(self.goes, self.time) + 2 * passed)
        if passed < -BREAK_SECONDS:
            return replace(self, time=when, goes=max(0, self.goes + 2 * passed))
        return replace(self, time=when)
