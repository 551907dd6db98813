"""Which of the things that a place holds must go first: by what it costs to have them again, how often and how lately.

GreedyDual-Size-Frequency (Cao & Irani, USENIX ITS 1997; Cherkasova, HPL-98-69R1, 1998): a thing's priority is
clock + uses x cost / size, set when it comes and whenever it is used.  The lowest goes first, and the clock moves on to
its priority, so that what was dear or popular long ago does not stay for ever.  Pure: knows no adapters, no engine, and
no time but what things cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Kept:
    size: int
    cost: float
    uses: int
    priority: float


class Residency:
    """What a place with room for `capacity` holds; capacity and sizes in one unit, such as bytes or places."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.taken = capacity, 0
        self._clock = 0.0
        self._kept: dict[str, _Kept] = {}
        """In the order of their last use, so that of equals the one goes that was not used for longest."""

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def names(self) -> list[str]:
        """What is there, least recently used first."""
        return list(self._kept)

    def add(self, name: str, size: int, cost: float) -> None:
        """It is there now.  size: at least 1; cost: seconds that it took to have it.  Room is the caller's to make."""
        self.remove(name)
        self._kept[name] = _Kept(size, cost, 1, self._clock + cost / size)
        self.taken += size

    def use(self, name: str) -> None:
        """It is used once more.  Of what is not there, nothing is to do."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            kept.uses += 1
            kept.priority = self._clock + kept.uses * kept.cost / kept.size
            self._kept[name] = kept

    def remove(self, name: str) -> None:
        """It is gone, for whatever reason."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            self.taken -= kept.size

    def victim(self, size: int, spared: Callable[[str], bool]) -> str | None:
        """What must go so that something of `size` fits; None when it fits, or when all that is left is spared.

        Ask again after it was removed.
        """
        if self.taken + size <= self.capacity:
            return None
        candidates = [name for name in self._kept if not spared(name)]
        if not candidates:
            return None
        found = min(candidates, key=lambda name: self._kept[name].priority)
        self._clock = max(self._clock, self._kept[found].priority)
        return found

    def fits(self, size: int) -> bool:
        """Whether there is room."""
        return self.taken + size <= self.capacity
