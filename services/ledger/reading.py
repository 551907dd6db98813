"""Up to when receipts were read, and by which time leases end what they reserve.  Pure arithmetic; Unix seconds.

After a break receipts come late for hours, those of new answers, too: they come behind those of the break.  So the time
by which reservations end is behind as well, for all leases alike, and catches up no faster than the receipts do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

BREAK_SECONDS = 120
"""More than passes between two notes while nothing waits: a call's long wait, and as long a rest again."""
PACE = 1.5
"""How fast that time then goes until it is at the clock: for whoever makes a fifth more receipts than answers come."""

MARK_SECONDS = 10.0


class Marks:
    """How far a log reached when it was asked, until it is read up to there: then it was read up to that time.

    So it need not be read to its end, which never comes while there is always a receipt that waits.
    """

    def __init__(self) -> None:
        self._marks = deque[tuple[float, int]]()

    def add(self, asked: float, end: int) -> None:
        """It ended at that offset at some time after `asked`.  Most are left out of those within some seconds."""
        if not self._marks or not 0 <= asked - self._marks[-1][0] < MARK_SECONDS:
            self._marks.append((asked, end))

    def reached(self, place: int) -> float | None:
        """Up to when it is read by who has read to that offset; None where that is no later than was said before."""
        when = None
        while self._marks and self._marks[0][1] <= place:
            when = self._marks.popleft()[0]
        return when


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
