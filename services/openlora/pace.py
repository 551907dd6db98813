"""How fast answers come to their end, and so how long whoever is sent away should wait.  Pure: no clock."""

from __future__ import annotations

_HALF_LIFE = 30.0
"""Seconds of work after which what was seen counts half."""
_ENOUGH = 5.0
"""Seconds of work before anything can be said."""
_UNKNOWN, _LEAST, _MOST = 2.0, 1.0, 60.0


class Pace:
    """Answers ended in the seconds in which any was being generated, the older the less they count."""

    def __init__(self) -> None:
        self._ended = self._seconds = 0.0
        self._last: float | None = None

    def note(self, now: float, *, ended: int = 0, working: bool) -> None:
        """So many answers end now; `working`: whether any was being generated since the last note."""
        if self._last is not None and working:
            passed = now - self._last
            fade = 0.5 ** (passed / _HALF_LIFE)
            self._ended, self._seconds = self._ended * fade, self._seconds * fade + passed
        self._ended, self._last = self._ended + ended, now

    def seconds_for(self, answers: int) -> float:
        """How long so many answers take, between 1 and 60; 2 while nothing is known."""
        if self._seconds < _ENOUGH:
            return _UNKNOWN
        return min(max(answers * self._seconds / max(self._ended, 1e-9), _LEAST), _MOST)
