"""Getting ahead of what waits for a disk or another process: it goes on in a thread while the caller prepares more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def ahead() -> Iterator[Callable[..., None]]:
    """Gives what runs a function with arguments in a thread, one after another; at the end all have run.

    It waits for the one before, so that no more than one waits to be run, and raises what that one raised.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        last: Future[Any] | None = None

        def soon(work: Callable[..., Any], *arguments: Any) -> None:
            nonlocal last
            if last is not None:
                last.result()
            last = thread.submit(work, *arguments)

        yield soon
        if last is not None:
            last.result()
