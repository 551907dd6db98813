"""What the service looks like in the moment in which somebody asks: who waits, for what, and which adapters are where.

`vllm:lora_requests_info` has vLLM's own name and labels: by it a gateway in front of several replicas sends a request
to one that has its adapter in a slot already.  Its adapters are named in full, as requests name them.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.openlora.adapters import BASE, Status
from services.openlora.admission import Ask
from services.openlora.busiest import OTHER, label, top

_PREFIX = "openledger_openlora_"
_LOOK_SECONDS = 5.0
_NAMED = 50
"""Adapters that a label lists."""
_COUNTED = {
    "hit": ("adapter_hits", "Times that an adapter was in memory when it was asked for"),
    "loaded": ("adapter_loads", "Adapters brought into memory"),
    "evicted": ("adapter_evictions", "Adapters that made room for others in memory"),
}


class Looks(Collector):
    """Looks at the service in its event loop, where it changes, for the thread that serves metrics."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    @abstractmethod
    def look(self) -> Sequence[Metric]:
        """The metrics of now."""

    def describe(self) -> Sequence[Metric]:
        """Nothing: names are told apart by who writes them."""
        return []

    def collect(self) -> Sequence[Metric]:
        """The metrics of now; none while the loop is stuck, so that the others can be seen."""
        if _running_loop() is self._loop:
            return self.look()
        try:
            return asyncio.run_coroutine_threadsafe(self._looked(), self._loop).result(_LOOK_SECONDS)
        except TimeoutError:
            return []

    async def _looked(self) -> Sequence[Metric]:
        return self.look()


class Numbers(Looks):
    """Gauges by name: what they mean, and how they are read."""

    def __init__(self, numbers: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        super().__init__()
        self._numbers = numbers

    def look(self) -> Sequence[Metric]:
        """See `Looks`."""
        return [GaugeMetricFamily(_PREFIX + name, text, read()) for name, (text, read) in self._numbers.items()]


class Turns(Protocol):
    """What is seen of `Admission`."""

    @property
    def queue(self) -> Iterable[Ask]:
        """What waits."""

    @property
    def active(self) -> Iterable[str]:
        """The adapters that have a slot."""


class Kept(Protocol):
    """What is seen of `Adapters`."""

    counts: Counter[str]

    def statuses(self) -> Iterable[Status]:
        """Of every adapter."""


class Gauges(Looks):
    """Who waits for what, and where adapters are.  `slots` is how many the engine computes with at once."""

    def __init__(self, turns: Turns, slots: int, adapters: Kept) -> None:
        super().__init__()
        self._turns, self._slots, self._adapters = turns, slots, adapters

    def look(self) -> Sequence[Metric]:
        """See `Looks`."""
        queue, statuses = list(self._turns.queue), list(self._adapters.statuses())
        models = Counter(ask.model for ask in queue)
        # What is asked for could be any text, of a gateway's other adapters too; these there are.
        known = {BASE, *(status.name for status in statuses)} & models.keys()
        by_adapter = top(_labelled({model: models[model] for model in known}))
        if unknown := models.total() - sum(by_adapter.values()):
            by_adapter[OTHER] = by_adapter.get(OTHER, 0) + unknown
        states = Counter(status.state.value for status in statuses)
        return [
            _by("tenant", "queued_by_tenant", _QUEUED, top(Counter(ask.tenant for ask in queue))),
            _by("adapter", "queued_by_adapter", _QUEUED, by_adapter),
            _by("state", "adapters", "Adapters that were asked for, by state", states),
            *(
                CounterMetricFamily(_PREFIX + name, text, self._adapters.counts[key])
                for key, (name, text) in _COUNTED.items()
            ),
            self._slots_taken([model for model, _ in models.most_common() if model in known - {BASE}]),
        ]

    def _slots_taken(self, waiting: list[str]) -> Metric:
        info = GaugeMetricFamily(
            "vllm:lora_requests_info",
            "Adapters that run and that are waited for; the value is the time at which it was so",
            labels=("max_lora", "running_lora_adapters", "waiting_lora_adapters"),
        )
        running = list(self._turns.active)
        info.add_metric([str(self._slots), ",".join(running[:_NAMED]), ",".join(waiting[:_NAMED])], time.time())
        return info


_QUEUED = "Requests that wait for their turn: those with most, and all others"


def _labelled(models: Mapping[str, int]) -> Counter[str]:
    counts = Counter[str]()
    for model, count in models.items():
        counts[label(model)] += count
    return counts


def _by(key: str, name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=(key,))
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
