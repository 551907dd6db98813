"""One thread for all that models are needed for, and two lanes to it: traces' receipts, and whatever can wait.

Models are loaded once and are used by one thread at a time.  Work of the second lane (explanations, audits) is taken
when no trace waits, neither here nor, as far as is known, in the log that traces are read from.  What has begun is not
broken off.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class _Work:
    future: Future[Any]
    call: Callable[[], Any]

    def run(self) -> None:
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self.call())
            except BaseException as error:  # noqa: BLE001 - whoever waits for it hears of it
                self.future.set_exception(error)


class _Lane(Executor):
    """What is submitted here is run in the lanes' thread."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.waiting: deque[_Work] = deque()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """See `Executor.submit`."""
        work = _Work(Future(), lambda: fn(*args, **kwargs))
        self.waiting.append(work)
        self._lanes.turn()
        return work.future


class Lanes:
    """`first` and `second` are executors.  For any thread."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._lock = threading.Lock()
        self._held = False
        self.first, self.second = _Lane(self), _Lane(self)

    def hold(self, held: bool) -> None:
        """Whether the second lane has to wait, because traces do that are not here yet."""
        with self._lock:
            opened, self._held = self._held and not held, held
            turns = len(self.second.waiting) if opened else 0
        for _ in range(turns):
            self.turn()

    def turn(self) -> None:
        """Give the thread one more turn: it takes the most urgent work that there is then, if there is any."""
        self._thread.submit(self._turn)

    def _turn(self) -> None:
        with self._lock:
            if self.first.waiting:
                work = self.first.waiting.popleft()
            elif self.second.waiting and not self._held:
                work = self.second.waiting.popleft()
            else:
                return
        work.run()

    def shutdown(self) -> None:
        """Cancel what has not begun, and wait for what has."""
        with self._lock:
            left = [*self.first.waiting, *self.second.waiting]
            self.first.waiting.clear()
            self.second.waiting.clear()
        for work in left:
            work.future.cancel()
        self._thread.shutdown()
