"""Few labels for many names: those that count most have their own, the others share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from prometheus_client import Counter as Series

MOST = 10
OTHER = "other"

_KNOWN = 1000
"""Names that are counted by themselves; beyond twice as many, those that count least are forgotten."""


def label(model: str) -> str:
    """A model's name as metrics show it: of a revision's digest its first 12 digits, which tell revisions apart."""
    head, _, digest = model.rpartition("/")
    return f"{head}/{digest[:12]}" if head else model


def top(counts: Mapping[str, int], most: int = MOST) -> dict[str, int]:
    """The greatest counts by name, and what the others come to; nothing for names that count nothing."""
    ranked = Counter(counts).most_common()
    shown = {name: count for name, count in ranked[:most] if count}
    rest = sum(count for _, count in ranked[most:])
    return shown | ({OTHER: rest} if rest else {})


class Busiest:
    """A counter of which the names that were counted most lately have series of their own.

    Who they are is looked at again after every `every`, and what was counted before then counts half.  A series that
    ends and comes back begins at 0, which Prometheus takes for a restart.
    """

    def __init__(self, series: Series, *, most: int = MOST, every: int = 10_000) -> None:
        self._series, self._most, self._every = series, most, every
        self._counts: Counter[str] = Counter()
        self._named: set[str] = set()
        self._since = 0

    def add(self, name: str, amount: int) -> None:
        """Count so much more of that name."""
        self._counts[name] += amount
        self._since += amount
        if len(self._named) < self._most:
            self._named.add(name)
        self._series.labels(name if name in self._named else OTHER).inc(amount)
        if self._since >= self._every or len(self._counts) > 2 * _KNOWN:
            self._look_again()

    def _look_again(self) -> None:
        busiest = self._counts.most_common(_KNOWN)
        named = {name for name, _ in busiest[: self._most]}
        for name in self._named - named:
            self._series.remove(name)
        self._named, self._since = named, 0
        self._counts = Counter({name: count // 2 for name, count in busiest if count > 1})
