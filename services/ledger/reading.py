"""Up to when receipts were read, and by which time leases end what they reserve.  Pure arithmetic; Unix seconds.

After a break receipts come late for hours, those of new answers, too: they come behind those of the break.  So the time
by which reservations end is behind as well, for all leases alike, and catches up no faster than the receipts do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import NamedTuple

BREAK_SECONDS = 120
"""More than passes between two notes while nothing waits: a call's long wait, and as long a rest again."""
PACE = 1.5
"""How fast that time then goes until it is at the clock: for whoever makes a fifth more receipts than answers come."""

MARK_SECONDS = 10.0


class Read(NamedTuple):
    """All receipts that were there at `when` are read.

    `waited`: seconds before it, since the last that was noted, in which one waited for its answer's end alone: in these
    nobody was behind who makes them.
    """

    when: float
    waited: float


class Marks:
    """How far a log reached when it was asked, until it is read up to there: then it was read up to that time.

    So it need not be read to its end, which never comes while there is always a receipt that waits.
    """

    def __init__(self) -> None:
        self._marks, self._waited = deque[tuple[float, int, float]](), 0.0
        self._read: Read | None = None

    def add(self, asked: float, end: int) -> None:
        """It ended at that offset at some time after `asked`.  Most are left out of those within some seconds."""
        if not self._marks or not 0 <= asked - self._marks[-1][0] < MARK_SECONDS:
            self._marks.append((asked, end, self._waited))
            self._waited = 0.0

    def wait(self, seconds: float) -> None:
        """So long a receipt waited for its answer's end alone."""
        self._waited += seconds

    def read(self, place: int) -> Read | None:
        """What may be noted by who has read to that offset; None where that has been."""
        while self._marks and self._marks[0][1] <= place:
            when, _, waited = self._marks.popleft()
            self._read = Read(when, waited + (self._read.waited if self._read else 0.0))
        return self._read

    def noted(self) -> None:
        """That was noted."""
        self._read = None


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

    def noted(self, when: int, waited: float = 0) -> Reading:
        """All were read that were there then, and so long nobody was behind (`Read`).

        A break holds for as long again as it lasted.  A clock that is put back by more than what is a break was wrong
        before: what it made of that is undone.
        """
        passed = when - self.time
        broke = passed - int(waited)
        if broke > BREAK_SECONDS:
            return Reading(when, int(self.until(self.time)), max(self.goes, self.time) + passed + broke)
        if passed < -BREAK_SECONDS:
            return replace(self, time=when, goes=max(0, self.goes + 2 * passed))
        return replace(self, time=when)
