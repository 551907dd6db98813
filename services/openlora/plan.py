"""Which waiting request gets the next turn, so that the engine's adapter slots are shared and do not thrash.

An engine computes with few adapters at a time.  One that has to change them with every request does little else, and
one that never changes them lets everybody starve whose adapter is not among them.  So whoever comes first in the fair
order gets the turn, if its adapter has a slot or a slot is free.  The adapters that come first in that order are
wanted.  To give them slots, those of others are cleared, least demanded first: they get no new turns, and when their
last answer ends, the slot is free.  None is cleared before it had its slot for some seconds, in which all who want it
can share it; and the one of which most is asked stays as long as any other can go, so that the batch is full meanwhile.

Nobody starves: whoever is first in the fair order has its adapter wanted, some other adapter then is not, and that one
is cleared in the time that it may keep its slot and its longest answer takes.
Pure: no clock, no queue.  Does not know how the fair order comes about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """A request whose adapter is in memory."""

    @property
    def adapter(self) -> str:
        """What it needs a slot for; empty for the base model, which takes none."""

    @property
    def tokens(self) -> int:
        """The most that it can come to."""


W = TypeVar("W", bound=Waiting)


@dataclass
class _Slot:
    since: float
    running: int = 0


class Planner:
    """What the engine's slots hold.  `keep` is how long, in seconds, an adapter has its slot at least."""

    def __init__(self, slots: int, keep: float) -> None:
        self._most, self._keep = slots, keep
        self._slots: dict[str, _Slot] = {}
        self._clearing: list[str] = []

    @property
    def active(self) -> Iterable[str]:
        """The adapters that answers are being generated with."""
        return self._slots.keys()

    def choose(self, waiting: Sequence[W], now: float, may: Callable[[W], bool]) -> W | None:
        """Who of those that wait, in the order in which they should go, begins now, of those who `may`; or nobody."""
        self._clear(waiting, now)
        return next((each for each in waiting if self._can_begin(each.adapter) and may(each)), None)

    def begin(self, adapter: str, now: float) -> None:
        """An answer with that adapter is begun."""
        if adapter:
            self._slots.setdefault(adapter, _Slot(now)).running += 1

    def end(self, adapter: str) -> None:
        """An answer with that adapter is over."""
        if adapter:
            self._slots[adapter].running -= 1
            if not self._slots[adapter].running:
                del self._slots[adapter]

    def _can_begin(self, adapter: str) -> bool:
        if not adapter:
            return True
        return adapter not in self._clearing if adapter in self._slots else len(self._slots) < self._most

    def _clear(self, waiting: Sequence[Waiting], now: float) -> None:
        """See to it that as many slots are free, or will be, as wanted adapters have none.

        What is being cleared is cleared to its end, whatever the order has become, or two could go on taking turns at
        being cleared and neither ever be.
        """
        in_order = dict.fromkeys(each.adapter for each in waiting if each.adapter)
        wanted = set(islice(in_order, self._most))
        needed = len(wanted - self._slots.keys()) - (self._most - len(self._slots))
        self._clearing = [adapter for adapter in self._clearing if adapter in self._slots][: max(needed, 0)]
        if needed > len(self._clearing):
            clearable = self._clearable(waiting, wanted, now)
            self._clearing += clearable[: needed - len(self._clearing)]

    def _clearable(self, waiting: Sequence[Waiting], wanted: set[str], now: float) -> list[str]:
        """Least demanded first."""
        demand = Counter[str]()
        for each in waiting:
            demand[each.adapter] += each.tokens
        rest = sorted((a for a in self._slots if a not in self._clearing), key=demand.__getitem__)
        unwanted = [adapter for adapter in rest if adapter not in wanted]
        if unwanted[-1:] == rest[-1:] and (self._clearing or len(unwanted) > 1):
            unwanted.pop()
        return [adapter for adapter in unwanted if now - self._slots[adapter].since >= self._keep]
