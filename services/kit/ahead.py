"""Getting ahead of what waits for a disk or another process: it goes on in a thread while the caller prepares more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_NO_MORE: Any = object()


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


@contextmanager
def read_ahead(items: Iterable[T]) -> Iterator[Iterator[T]]:
    """Gives the items; while one is used, a thread asks for the next one.

    At the end nothing is asked for any more, however many were taken.  It raises what `items` raises.
    """
    left = iter(items)
    with ThreadPoolExecutor(1, "ahead") as thread:

        def each() -> Iterator[T]:
            following = thread.submit(next, left, _NO_MORE)
            while (item := following.result()) is not _NO_MORE:
                following = thread.submit(next, left, _NO_MORE)
                yield item

        yield each()
